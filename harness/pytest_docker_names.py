"""The names of pytest-docker on our stacks: the way in for suites that were written for it, where it is not installed.

What a suite overrides has its effect, or is told once, by a warning, to have none.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import socketserver
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import pytest

from harness import config as configuration
from harness.clock import LIFTED, Deadline, now, poll
from harness.errors import ConfigError, HarnessError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.runs import Stack

HERE = "127.0.0.1"
CHUNK = 1 << 16
SCOPE = "--container-scope"
_USUAL_SETUP, _USUAL_CLEANUP = ["up --build --wait"], ["down -v"]
_Scope = Literal["session", "package", "module", "class", "function"]
# Flags of Compose that ask for what is so in any case; those of the second kind take a value.
_UP = {"--build", "--wait", "-d", "--detach", "--force-recreate", "--remove-orphans", "--renew-anon-volumes", "-V"}
_DOWN = {"-v", "--volumes", "--remove-orphans"}
_VALUED = {"-t", "--timeout", "--wait-timeout", "--rmi"}


class NoEffect(UserWarning):
    """Something that a suite says to pytest-docker has no effect here."""


class NoPort(ConfigError, ValueError):
    """A service has no such port. pytest-docker raises ValueError."""


# -- what a suite overrides, decided before anything starts ------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What the fixtures of a suite say.

    Attributes:
        command: ``docker_compose_command``.
        project: ``docker_compose_project_name``.
        setup: ``docker_setup``; nothing for "start nothing".
        cleanup: ``docker_cleanup``; nothing for "leave it".
    """

    command: str
    project: str
    setup: tuple[str, ...]
    cleanup: tuple[str, ...]

    @property
    def keeps(self) -> bool:
        """Whether the stack stays up after the tests."""
        return not self.cleanup

    def commands(self, when: Literal["setup", "cleanup"]) -> list[tuple[str, list[str]]]:
        """Return the commands to run in services, as (service, words), in order."""
        lines = self.setup if when == "setup" else self.cleanup
        return [found for line in lines if (found := _exec_of(line))]

    def without_effect(self) -> list[str]:
        """Return, in sentences, what has no effect."""
        told = []
        if self.command.split() not in (["docker", "compose"], ["docker-compose"]):
            told.append(
                f"docker_compose_command {self.command!r} has no effect: the harness finds Docker Compose itself "
                "(HARNESS_COMPOSE names another)"
            )
        if self.project != _usual_project():
            told.append(
                f"docker_compose_project_name {self.project!r} has no effect: each environment has a name of its own"
            )
        if not self.setup:
            told.append("an empty docker_setup has no effect: a stack that is up is used, else it is started")
        told += [
            f"docker_setup {line!r} has no effect: the harness starts the whole stack of the file, afresh"
            for line in self.setup
            if not _is_usual(line, "up", _UP) and not _is_usual(line, "down", _DOWN) and not _exec_of(line)
        ]
        told += [
            f"docker_cleanup {line!r} has no effect: the harness removes what it has made, with volumes"
            for line in self.cleanup
            if not _is_usual(line, "down", _DOWN) and not _exec_of(line)
        ]
        return told


def _exec_of(line: str) -> tuple[str, list[str]] | None:
    """Return the service and the words of ``exec [-T] SERVICE WORD ...``, None for any other command."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"{line!r} of docker_setup or docker_cleanup cannot be split into words: {error}") from error
    if words[:1] != ["exec"]:
        return None
    words = words[2:] if words[1:2] == ["-T"] else words[1:]
    return (words[0], words[1:]) if len(words) > 1 and not words[0].startswith("-") else None


def _is_usual(line: str, command: str, flags: set[str]) -> bool:
    """Return whether a line is ``command`` with no more than flags that change nothing here."""
    first, *words = line.split() or [""]
    left = iter(words)
    for word in left:
        if word in _VALUED:
            next(left, None)
        elif word not in flags and word.partition("=")[0] not in _VALUED:
            return False
    return first == command


def _usual_project() -> str:
    return f"pytest{os.getpid()}"


def _listed(written: str | Sequence[str] | None) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) and written else tuple(written or ())


# -- ports of services on one host -------------------------------------------------------------------------------------


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
        """Return the port of ``docker_ip`` at which a port of a service answers. Raises NoPort: it has none."""
        try:
            host, _, port = self._stack.endpoint(service, container_port).rpartition(":")
        except ConfigError as error:
            raise NoPort(error.summary) from error
        if host == HERE:
            return int(port)
        key = (host, int(port))
        if key not in self._relays:
            self._relays[key] = _Relay(key)
        return int(self._relays[key].server_address[1])

    def wait_until_responsive(
        self,
        check: Callable[[], bool],
        timeout: float,
        pause: float,  # noqa: ARG002 - the poll loop has its own
        clock: Callable[[], float] = now,
    ) -> None:
        """Wait until ``check`` is true. Raises WaitTimeout when it was not for ``timeout`` s of ``clock``."""
        start = clock()
        for _ in poll(Deadline.after(timeout if clock is now else LIFTED)):
            if check():
                return
            if clock() - start >= timeout:
                break
        raise WaitTimeout(
            f"Timeout reached while waiting on service! Stack {self._stack.name!r}: "
            f"the check was not true in {timeout:g} s"
        )

    def close(self) -> None:
        """End the relays."""
        for relay in self._relays.values():
            relay.shutdown()
            relay.server_close()


# -- the fixtures ------------------------------------------------------------------------------------------------------


def add_options(parser: pytest.Parser) -> None:
    """Add pytest-docker's option."""
    group = parser.getgroup("docker", "pytest-docker's fixtures on stacks of the harness")
    help_ = "scope of docker_services and its like (default: session)"
    group.addoption(SCOPE, default="session", choices=get_args(_Scope), help=help_)


def get_docker_ip() -> str:
    """Return what ``docker_ip`` is."""
    return HERE


def get_setup_command() -> list[str]:
    """Return what ``docker_setup`` is where nobody overrides it, for overrides that add to it."""
    return list(_USUAL_SETUP)


def get_cleanup_command() -> list[str]:
    """Return what ``docker_cleanup`` is where nobody overrides it, for overrides that add to it."""
    return list(_USUAL_CLEANUP)


def container_scope(fixture_name: str, config: pytest.Config) -> _Scope:  # noqa: ARG001 - pytest calls it by these names
    """Return the scope of the fixtures, for those of a suite that shall have the same."""
    return cast("_Scope", config.getoption(SCOPE, "session"))


@pytest.fixture(scope=container_scope)
def docker_ip() -> str:
    """The host at which ``docker_services.port_for`` opens ports."""
    return get_docker_ip()


@pytest.fixture(scope=container_scope)
def docker_compose_command() -> str:
    """How Compose is called; another one has no effect."""
    return "docker compose"


@pytest.fixture(scope=container_scope)
def docker_compose_project_name() -> str:
    """The name of the Compose project; another one has no effect."""
    return _usual_project()


@pytest.fixture(scope=container_scope)
def docker_compose_file(pytestconfig: pytest.Config) -> str | list[str]:
    """The Compose file, or files: ``tests/docker-compose.yml``; where there is none, the default stack."""
    return _usual_file(pytestconfig)


@pytest.fixture(scope=container_scope)
def docker_setup() -> str | list[str]:
    """What is done before the tests; ``exec SERVICE WORD ...`` are commands to run in services that are up."""
    return get_setup_command()


@pytest.fixture(scope=container_scope)
def docker_cleanup() -> str | list[str]:
    """What is done after the tests; nothing for a stack that stays up, until ``harness down``."""
    return get_cleanup_command()


@pytest.fixture(scope=container_scope)
def docker_services(
    request: pytest.FixtureRequest,
    docker_compose_command: str,
    docker_compose_file: str | list[str],
    docker_compose_project_name: str,
    docker_setup: str | list[str],
    docker_cleanup: str | list[str],
) -> Iterator[Services]:
    """The stack of the suite's ``docker_compose_file``, as pytest-docker offers it. Its setup has been done."""
    setup, cleanup = _listed(docker_setup), _listed(docker_cleanup)
    asked = Asked(docker_compose_command, docker_compose_project_name, setup, cleanup)
    _tell(request.config, asked.without_effect())
    lend = request.getfixturevalue("harness_stack_lent")
    name = _stack_of(request.config, docker_compose_file)
    with lend(name, shared=request.scope == "session", keep=asked.keeps) as stack:
        _execute(stack, asked.commands("setup"))
        services = Services(stack)
        yield services
        services.close()
        _execute(stack, asked.commands("cleanup"))


def _usual_file(config: pytest.Config) -> str:
    return str(config.rootpath / "tests" / "docker-compose.yml")


def _stack_of(config: pytest.Config, file: str | Sequence[str]) -> str:
    """Return the stack of ``docker_compose_file``, "" for the default one. Raises ConfigError.

    The usual file gives way to a stack that was chosen, by ``--stack`` or its variable.
    """
    files = [str(file)] if isinstance(file, (str, os.PathLike)) else [str(each) for each in file]
    if files == [_usual_file(config)]:
        environ = configuration.read_sources(config.rootpath).environ
        if config.getoption("harness_stack") or environ.get("HARNESS_STACK") or not os.path.isfile(files[0]):  # noqa: PTH113 - a string
            return ""
    for each in files:
        if each and not each.endswith((".yml", ".yaml")):
            raise ConfigError(f"docker_compose_file {each!r} is no Compose file (.yml or .yaml)")
    return os.pathsep.join(each for each in files if each)


_TOLD = pytest.StashKey[set[str]]()


def _tell(config: pytest.Config, lines: Sequence[str]) -> None:
    """Warn of each line, once a session."""
    told = config.stash.setdefault(_TOLD, set())
    for line in lines:
        if line not in told:
            told.add(line)
            warnings.warn(line, NoEffect, stacklevel=2)


def _execute(stack: Stack, commands: Sequence[tuple[str, list[str]]]) -> None:
    """Run commands in services. Raises HarnessError when one fails."""
    for service, words in commands:
        done = stack.service(service).exec(words)
        if done.code != 0:
            raise HarnessError(
                f"Command {shlex.join(words)!r} in service {service!r} ended with {done.code}; 0 was needed",
                details=(done.stdout + done.stderr).splitlines()[-10:],
            )
