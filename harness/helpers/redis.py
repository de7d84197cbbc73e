"""Redis (or Valkey) for tests: a client of a stack's service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis

from harness.helpers.stores import store_in

if TYPE_CHECKING:
    from harness.helpers.stores import Running


def connect(stack: Running, service: str, *, database: int = 0, timeout: float = 10.0, **options: Any) -> Redis:  # noqa: ANN401 - the client's own
    """Return a client of ``redis.Redis``, whose answers are text. Closed by ``close()``, or as a context manager.

    Args:
        stack: the stack.
        service: the service's name.
        database: the number of the database.
        timeout: seconds for each answer.
        options: passed on to ``redis.Redis``.

    Raises:
        ConfigError: there is no such service, or it publishes no port.
    """
    store = store_in(stack, service, "redis")
    given = {"decode_responses": True, "socket_timeout": timeout, "socket_connect_timeout": timeout, **options}
    return Redis(host=store.host, port=store.port, db=database, password=store.login.password or None, **given)


def url(stack: Running, service: str) -> str:
    """Return ``redis://...`` of a service. Raises ConfigError as ``connect`` does."""
    return store_in(stack, service, "redis").url()
