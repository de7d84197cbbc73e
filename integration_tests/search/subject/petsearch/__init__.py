"""A small web application: owners and their pets, from two indices of a search engine."""
