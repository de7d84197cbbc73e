"""The fixtures of pytest-docker on our stacks, for suites that were written for it, where it is not installed."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest

from harness import config as configuration
from harness.clock import Deadline, poll
from harness.errors import ConfigError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.runs import Stack

HERE = "127.0.0.1"
CHUNK = 1 << 16


class _Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to ``address``: these suites expect every service at one host, ours have one each."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        super().__init__((HERE, 0), _Passing)
        threading.Thread(target=self.serve_forever, name="harness-relay", daemon=True).start()


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Relay)
        try:
            service = socket.create_connection(self.server.address, timeout=10)
        except OSError:
            return  # the client sees its connection end, as it does with the port of a dead container
        with service:
            service.settimeout(None)
            back = threading.Thread(target=_copy, args=(service, self.request), daemon=True)
            back.start()
            _copy(self.request, service)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Services:
    """What ``docker_services`` of pytest-docker can do."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._relays: dict[tuple[str, int], _Relay] = {}

    def port_for(self, service: str, container_port: int) -> int:
        """Return the port of ``docker_ip`` at which a port of a service answers. Raises ConfigError: it has none."""
        host, _, port = self._stack.endpoint(service, container_port).rpartition(":")
        if host == HERE:
            return int(port)
        key = (host, int(port))
        if key not in self._relays:
            self._relays[key] = _Relay(key)
        return int(self._relays[key].server_address[1])

    def wait_until_responsive(self, check: Callable[[], bool], timeout: float, pause: float) -> None:  # noqa: ARG002
        """Wait until ``check`` is true; the poll loop has its own pauses. Raises WaitTimeout after ``timeout`` s."""
        for _ in poll(Deadline.after(timeout)):
            if check():
                return
        raise WaitTimeout(f"Stack {self._stack.name!r} was not responsive in {timeout:g} s: the check was never true")

    def close(self) -> None:
        """End the relays."""
        for relay in self._relays.values():
            relay.shutdown()
            relay.server_close()


@pytest.fixture(scope="session")
def docker_ip() -> str:
    """The host at which ``docker_services.port_for`` opens ports."""
    return HERE


@pytest.fixture(scope="session")
def docker_compose_file(pytestconfig: pytest.Config) -> str | list[str]:
    """The Compose file, or files, of ``docker_services``: pytest-docker's default, else "" for the default stack.

    A stack that was chosen, by ``--stack`` or its variable, goes before that file.
    """
    usual = pytestconfig.rootpath / "tests" / "docker-compose.yml"
    environ = configuration.read_sources(pytestconfig.rootpath).environ
    chosen = pytestconfig.getoption("harness_stack") or environ.get("HARNESS_STACK")
    return [str(usual)] if usual.is_file() and not chosen else ""


@pytest.fixture(scope="session")
def docker_services(request: pytest.FixtureRequest, docker_compose_file: str | list[str]) -> Iterator[Services]:
    """The default stack, or that of the suite's own ``docker_compose_file``, as pytest-docker offers it."""
    files = [docker_compose_file] if isinstance(docker_compose_file, (str, os.PathLike)) else docker_compose_file
    written = os.pathsep.join(str(file) for file in files if str(file))
    if written and not written.endswith((".yml", ".yaml")):
        raise ConfigError(f"docker_compose_file {written!r} is no Compose file (.yml or .yaml)")
    bring = request.getfixturevalue("harness_stack_named")
    services = Services(bring(written))
    yield services
    services.close()
