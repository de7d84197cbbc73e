"""The platform: users deploy models, which run as servers of their own."""
