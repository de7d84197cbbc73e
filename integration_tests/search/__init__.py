"""The search system: a web application that is backed by two indices of a search engine."""
