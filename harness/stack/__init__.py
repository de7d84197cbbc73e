"""What should exist: stacks as frozen values, read from Compose files."""

from harness.stack.compose import ANYWHERE, compose_environment, find_compose, show_config
from harness.stack.model import (
    HealthCheck,
    HttpProbe,
    KafkaProbe,
    Mount,
    Port,
    Probe,
    Process,
    Seed,
    Service,
    Stack,
    Tree,
    by_number,
    numbers_of,
)
from harness.stack.reading import broker_of, read_tree

__all__ = [
    "ANYWHERE",
    "HealthCheck",
    "HttpProbe",
    "KafkaProbe",
    "Mount",
    "Port",
    "Probe",
    "Process",
    "Seed",
    "Service",
    "Stack",
    "Tree",
    "broker_of",
    "by_number",
    "compose_environment",
    "find_compose",
    "numbers_of",
    "read_tree",
    "show_config",
]
