"""What should exist: stacks as frozen values, read from Compose files."""

from harness.stack.compose import compose_environment, find_compose, show_config
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
)
from harness.stack.reading import broker_of, read_tree

__all__ = [
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
    "compose_environment",
    "find_compose",
    "read_tree",
    "show_config",
]
