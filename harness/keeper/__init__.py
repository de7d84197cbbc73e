"""The process that keeps an environment, and how it is spoken to."""
