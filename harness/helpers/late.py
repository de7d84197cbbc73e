"""Libraries for those who may not need them: each is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.helpers.kafka import Kafka


def quiet_kafka(bootstrap: str, *, timeout: float = 10.0) -> Kafka:
    """Return a client that is no witness of a test. ``timeout``: seconds for one request."""
    from harness.helpers.kafka import Kafka  # noqa: PLC0415 - only stacks with Kafka load it

    return Kafka(bootstrap, timeout=timeout, evidence=False)


def missing_leaders(kafka: Kafka, topics: Mapping[str, int], timeout: float) -> str:
    """Return what of ``topics`` (name -> partitions) has no leader, "" when all have. Raises KafkaFailure."""
    from harness.helpers import kafka as library  # noqa: PLC0415 - as above

    return library.missing_leaders(kafka.leaders(timeout), topics)


def postgres(name: str = "postgres") -> Any:  # noqa: ANN401 - a module
    """Return ``harness.helpers.postgres``, or one beside it. Raises ConfigError when its library is not installed."""
    try:
        return import_module(f"harness.helpers.{name}")
    except ImportError as error:
        if not (error.name or "").startswith("psycopg") and "libpq" not in str(error):
            raise
        raise ConfigError(
            f"psycopg, which talks to PostgreSQL, cannot be loaded: {str(error).splitlines()[0]}",
            hint="pip install 'integration-harness[postgres]'",
        ) from error
