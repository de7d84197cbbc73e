"""What should exist: stacks as frozen values, read from Compose files."""

from harness.stack.apart import set_apart
from harness.stack.compose import ANYWHERE, compose_environment, find_compose, show_config
from harness.stack.model import (
    ExecSeed,
    HealthCheck,
    HttpProbe,
    HttpSeed,
    KafkaProbe,
    Mount,
    Port,
    Probe,
    Process,
    RedisSeed,
    Seed,
    Service,
    SqlSeed,
    Stack,
    Tree,
    by_number,
    numbers_of,
)
from harness.stack.reading import KAFKA_PORT, broker_of, read_tree, store_of
from harness.stack.stores import Login, Store, has_files, login_of, uses_data

__all__ = [
    "ANYWHERE",
    "KAFKA_PORT",
    "ExecSeed",
    "HealthCheck",
    "HttpProbe",
    "HttpSeed",
    "KafkaProbe",
    "Login",
    "Mount",
    "Port",
    "Probe",
    "Process",
    "RedisSeed",
    "Seed",
    "Service",
    "SqlSeed",
    "Stack",
    "Store",
    "Tree",
    "broker_of",
    "by_number",
    "compose_environment",
    "find_compose",
    "has_files",
    "login_of",
    "numbers_of",
    "read_tree",
    "set_apart",
    "show_config",
    "store_of",
    "uses_data",
]
