"""The broker contract: what a Kafka broker must do for tests, whichever runs on an engine."""
