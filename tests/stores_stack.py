"""A stack with a store of each kind, as local processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from checkout import ROOT

if TYPE_CHECKING:
    from projects import Project


def write_stores(project: Project, *names: str) -> None:
    """Write the stack ``s`` with these stores: ``db``, ``cache``, ``search``, ``kafka``; all by default."""
    broker = yaml.safe_load((ROOT / "compose" / "kafka.yaml").read_text())["services"]["kafka"]["x-harness"]
    environment = {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "hush", "POSTGRES_DB": "shop"}
    services: dict[str, dict[str, Any]] = {
        "db": {
            "image": "postgres",
            "ports": ["5432"],
            "command": "-c max_prepared_transactions=5",
            "environment": environment,
            "x-harness": {"embedded": {"preset": "postgres"}},
        },
        "cache": {"image": "redis", "ports": ["6379"], "x-harness": {"embedded": {"preset": "redis"}}},
        "search": {"image": "opensearch", "ports": ["9200"], "x-harness": {"embedded": {"preset": "search"}}},
        "kafka": {"image": "kafka", "ports": ["9092"], "x-harness": broker},
    }
    project.stack("s", {name: services[name] for name in names or services})
