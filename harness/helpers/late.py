"""Libraries for those who may not need them: each is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.helpers.kafka import Kafka

# Kind of store -> the module that looks at it, its class there, and the library that it needs.
_STATES = {
    "postgres": ("postgres_state", "PostgresState", "psycopg"),
    "redis": ("redis_state", "RedisState", ""),
    "search": ("search_state", "SearchState", ""),
    "kafka": ("kafka.state", "KafkaState", "confluent_kafka"),
}


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


def state_of(kind: str, where: Any, *, within: float) -> Any:  # noqa: ANN401 - a class of one of the modules
    """Return what is in a store of a kind, as far as tests may leave it.

    Args:
        kind: ``postgres``, ``redis``, ``search`` or ``kafka``.
        where: the ``Store``; of a broker ``host:port``.
        within: seconds for each answer.

    Raises:
        ConfigError: its library is not installed.
        HarnessError, OSError: it cannot be reached.
    """
    module, name, library = _STATES[kind]
    try:
        loaded = import_module(f"harness.helpers.{module}")
    except ImportError as error:
        if not library or not ((error.name or "").startswith(library) or "libpq" in str(error)):
            raise
        raise ConfigError(
            f"{library}, which talks to it, cannot be loaded: {str(error).splitlines()[0]}",
            hint=f"pip install 'integration-harness[{kind}]'",
        ) from error
    return getattr(loaded, name)(where, within=within)
