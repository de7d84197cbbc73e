"""What the helpers of databases and stores have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.stack import Store


class RunningService(Protocol):
    """A service of a running stack."""

    @property
    def store(self) -> Store | None:
        """How it is connected to as a store, None when it is none."""
        ...


class Running(Protocol):
    """A running stack, such as a fixture gives."""

    def service(self, name: str) -> RunningService:
        """Return a service by name. Raises ConfigError when there is none."""
        ...


def store_in(stack: Running, service: str, kind: str) -> Store:
    """Return how a service of a stack is connected to. Raises ConfigError when it is no store of this kind."""
    store = stack.service(service).store
    if store is None or store.login.kind != kind:
        seen = f"it is {store.login.kind}" if store else "it publishes no port of one"
        raise ConfigError(
            f"Service {service!r} is not known as {kind}: {seen}",
            hint=f"`embedded: {{preset: {kind}}}`, or a probe of it, says what it is",
        )
    return store
