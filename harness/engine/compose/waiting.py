"""The container of tests inside: it waits for commands, and is made before those that it reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.engine.compose.networks import maker_of, makes
from harness.engine.compose.override import Replaced, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Service, Stack, Tree

WAITS = ("sleep", "2147483647")  # for ever, nearly, as everybody's ``sleep`` understands it


def waiting(service: Service) -> dict[str, Any]:
    """Return what a container has that does nothing but wait for commands, whatever its file and image say."""
    written = service.compose
    waiting: dict[str, Any] = {"entrypoint": Replaced(list(WAITS)), "healthcheck": Replaced({"disable": True})}
    return waiting | {key: Reset() for key in ("command", "depends_on", "links") if written.get(key)}


def made_later(tree: Tree, stack: Stack) -> Iterator[str]:
    """Say which networks a container that waits on an engine elsewhere cannot join: it is made before all others."""
    for service in stack.services if stack.waits else ():
        for key in service.compose.get("networks") or ():
            if (
                makes(stack, key)
                and not stack.networks[key].get("external")
                and maker_of(tree, stack, key) != stack.name
            ):
                yield (
                    f"Service {service.name!r} is on network {key!r} ({stack.files[0]}); for --inside on an engine "
                    "elsewhere, 'default' without settings was needed: it is made before all other networks"
                )
