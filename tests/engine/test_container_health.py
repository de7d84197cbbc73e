"""Which healthchecks of a container are run by us, and what comes of them."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from harness.engine.compose.health import QUICK, ContainerHealth


class Client:
    """An engine whose containers have a healthcheck each second, and end each command with ``code``."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.ran: list[list[str]] = []

    def inspect_container(self, _: str) -> dict[str, Any]:
        return {"Config": {"Healthcheck": {"Test": ["CMD", "is-well"], "Interval": 10**9}}}

    def exec_create(self, _: str, argv: list[str]) -> dict[str, str]:
        self.ran.append(argv)
        return {"Id": "e"}

    def exec_start(self, _: str, *, socket: bool) -> Any:
        assert socket
        return ended()

    def exec_inspect(self, _: str) -> dict[str, int]:
        return {"ExitCode": self.code}


def ended() -> socket.socket:
    """Return the stream of a command that wrote nothing and has ended."""
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


def health(client: Client, quick: float) -> ContainerHealth:
    """Return the health of a container that runs and of which the engine says nothing."""
    facts = {"container": "c1"}
    lives = SimpleNamespace(health=lambda *_: "", started=lambda *_: facts)
    place: Any = SimpleNamespace(lives=lives, client=client, explain=lambda *_: {})
    return ContainerHealth(place, "s", "web", "is-well", awaited=False, quick=quick)


def test_a_check_is_left_to_an_engine_that_makes_it_soon() -> None:
    """What the engine checks each second must not be checked by us too."""
    client = Client()
    assert health(client, QUICK)() == "its healthcheck says: nothing yet"
    assert client.ran == []


def test_no_check_is_left_to_an_engine_that_may_never_make_it() -> None:
    """Where the engine may run no check at all, the container must be healthy by the one that we run, or not."""
    client = Client()
    assert health(client, 0.0)() == ""
    assert client.ran == [["is-well"]]
    assert "exit code 3" in health(Client(code=3), 0.0)()
