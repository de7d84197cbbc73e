"""A platform that serves models, in small: users, API keys, applications, models and their deployed versions."""
