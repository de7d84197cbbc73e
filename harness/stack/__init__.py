"""What should exist: stacks as frozen values, read from Compose files."""

from harness.stack.compose import compose_environment, find_compose
from harness.stack.model import (
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
    parse_duration,
)
from harness.stack.reading import broker_of, read_tree

__all__ = [
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
    "parse_duration",
    "read_tree",
]
