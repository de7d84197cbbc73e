"""The Docker engine that is in force: where it is, and a client for it. Podman speaks the same API and is one too.

``DOCKER_HOST``, else ``DOCKER_CONTEXT``, else the current context, else the default socket, as the Docker CLI has it
("Docker contexts" in its manual), else Podman's own socket. It is resolved once and then given to the SDK and to
Compose alike, since the SDK ignores contexts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

from harness.errors import BrokenStack, ConfigError, EngineUnreachableError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPConnection, HTTPResponse

    from harness.docker_sdk import APIClient

DEFAULT_HOST = "unix:///var/run/docker.sock"
PODMAN_SOCKET = "podman/podman.sock"  # in /run, or in a user's own XDG_RUNTIME_DIR (podman-system-service(1))
BY_DEFAULT, BY_PODMAN = "default", "default of Podman"
OLDEST_API = (1, 41)  # engine 20.10
PING_BUDGET = 4.0  # the verdict on an engine is due within 5 s, all told
AUTO_BUDGET = 2.0
CALL_BUDGET = 60.0
PLAIN_PORT, TLS_PORT = 2375, 2376
MOST = 1 << 26  # bytes of an answer
DONE = b"OK"  # what Podman says, where Docker says nothing
REFUSED = 400
NOT_THERE = 404


@dataclass(frozen=True)
class Daemon:
    """The address of an engine.

    Attributes:
        host: its URL, as in ``DOCKER_HOST``.
        origin: what chose it, for people.
        certificates: folder with ca.pem, cert.pem and key.pem, "" without TLS.
        verify: whether its certificate is checked.
    """

    host: str
    origin: str
    certificates: str = ""
    verify: bool = True

    @property
    def configured(self) -> bool:
        """Whether somebody chose it, other than by default."""
        return self.origin not in (BY_DEFAULT, BY_PODMAN)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def environment(self) -> dict[str, str]:
        """Return the variables that point a Docker tool at it."""
        env = {"DOCKER_HOST": self.host}
        if self.certificates:
            env["DOCKER_CERT_PATH"] = self.certificates
            env["DOCKER_TLS_VERIFY" if self.verify else "DOCKER_TLS"] = "1"
        return env


def find_daemon(environ: Mapping[str, str], default: str = DEFAULT_HOST) -> Daemon:
    """Return the engine that ``environ`` and the Docker configuration choose; nothing is asked of it.

    Where they choose none it is the one at ``default``, a unix socket; if nobody listens there, at one of Podman's.

    Raises:
        ConfigError: the context does not exist or cannot be read.
    """
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    if host := environ.get("DOCKER_HOST"):
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        secured = verify or bool(environ.get("DOCKER_TLS"))
        return Daemon(host, "DOCKER_HOST", (environ.get("DOCKER_CERT_PATH") or str(folder)) if secured else "", verify)
    name, origin = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not name:
        name, origin = str(_read(folder / "config.json").get("currentContext") or ""), str(folder / "config.json")
    if not name:
        return _usual(environ, default)
    if name == "default":
        return Daemon(default, BY_DEFAULT)
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = _read(folder / "contexts" / "meta" / digest / "meta.json")
    endpoint = meta.get("Endpoints", {}).get("docker", {})
    if not endpoint.get("Host"):
        names = [str(_read(path).get("Name")) for path in sorted(folder.glob("contexts/meta/*/meta.json"))]
        raise ConfigError(
            f"Docker context {name!r} ({origin}) does not exist; there are: {', '.join(['default', *names])}"
            f"{nearest(name, names)}"
        )
    stored = folder / "contexts" / "tls" / digest / "docker"
    return Daemon(
        endpoint["Host"],
        f"context {name!r}",
        str(stored) if stored.is_dir() else "",
        not endpoint.get("SkipTLSVerify", False),
    )


def _usual(environ: Mapping[str, str], default: str) -> Daemon:
    """Return the engine that listens at its usual socket: Docker, else Podman; Docker's where nobody does."""
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    hosts = {default: BY_DEFAULT}
    hosts |= {f"unix://{folder}/{PODMAN_SOCKET}": BY_PODMAN for folder in ("/run", own)}
    listening = (Daemon(host, origin) for host, origin in hosts.items() if _is_served(host))
    return next(listening, Daemon(default, BY_DEFAULT))


def _is_served(host: str) -> bool:
    """Return whether somebody whom this user may speak to listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(0)
        try:
            knock.connect(host.removeprefix("unix://"))
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True)
class Answer:
    """What an engine says of itself.

    Attributes:
        version: its own version.
        api: the newest version of the Engine API that it speaks.
        is_podman: whether it is Podman.
    """

    version: str
    api: str
    is_podman: bool = False

    def __str__(self) -> str:
        return f"{'Podman' if self.is_podman else 'Docker engine'} {self.version}"


def ask(daemon: Daemon, *, within: float = PING_BUDGET) -> Answer:
    """Return what the engine says of itself. The SDK, which takes a quarter of a second to load, is not needed for it.

    Raises:
        EngineUnreachableError: it did not answer; the error names the endpoint.
        ConfigError: it is of a kind or version that cannot be used.
    """
    # Not /version, for which an engine starts two programs (6 ms, where this takes 0.4).
    with _told(daemon, within), _asked(daemon, "GET", "/_ping", None, within) as pong:
        kind, _, version = pong.headers.get("Server", "").partition(" ")[0].partition("/")
        answer = Answer(version or "?", pong.headers.get("Api-Version", ""), kind == "Libpod")
    try:
        spoken = tuple(int(part) for part in answer.api.split("."))
    except ValueError as error:
        raise _unreachable(daemon, "what answers there names no version of the Engine API") from error
    if spoken < OLDEST_API:
        oldest = ".".join(map(str, OLDEST_API))
        who, first = ("Podman", "Podman 4.3") if answer.is_podman else ("Docker engine", "engine 20.10")
        raise ConfigError(f"{who} {daemon.host} has API {answer.api}, {oldest} ({first}) or later was needed")
    return answer


def rootless(daemon: Daemon, *, within: float = PING_BUDGET) -> str:
    """Return why Podman cannot be used, "" unless it runs as a user: that user's containers are in a network of theirs.

    Raises as ``Api.request`` does.
    """
    # Who listens is known at once; its word may take seconds, as it asks for the versions of all its programs.
    if _listener(daemon) == 0 or not Api(daemon, within=within).request("GET", "/info").get("Rootless"):
        return ""
    return f"Podman {daemon.host} ({daemon.origin}) runs rootless, so this machine and its containers share no network"


def _listener(daemon: Daemon) -> int | None:
    """Return the user who listens at an engine's unix socket, None when that cannot be told."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(PING_BUDGET)
        knock.connect(daemon.host.removeprefix("unix://"))
        _, user, _ = struct.unpack("3i", knock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(user)
    return None


@dataclass(frozen=True)
class Reply:
    """What an engine answered: the status as in HTTP, and its JSON, None for nothing."""

    status: int
    document: Any

    @property
    def refusal(self) -> str:
        """Why the engine refused, in its own words; "" when it did not."""
        if self.status < REFUSED:
            return ""
        message = self.document.get("message") if isinstance(self.document, dict) else self.document
        return str(message or f"status {self.status}")


class Api:
    """The Engine API by the standard library alone: what finds, starts and removes things needs no more.

    The SDK takes most of the time in which a keeper starts. Each request has a connection of its own, and names no
    version of the API: what is asked for is the same in all of them. Safe to use from several threads. An answer comes
    ``within`` seconds, unless a request says otherwise.
    """

    def __init__(self, daemon: Daemon, *, within: float = CALL_BUDGET) -> None:
        self.daemon = daemon
        self._within = within

    def call(self, method: str, path: str, body: object = None, *, within: float | None = None) -> Reply:
        """Ask for one thing; return the answer, whatever it is.

        Args:
            method: as in HTTP.
            path: as in the Engine API, without a version.
            body: what JSON can be made of, bytes that are an archive, None for nothing.
            within: seconds for the answer.

        Raises:
            EngineUnreachableError: there was none.
        """
        within = self._within if within is None else within
        with _told(self.daemon, within), _asked(self.daemon, method, path, body, within) as answer:
            content = answer.read(MOST)
        return _reply(self.daemon, answer.status, content)

    def request(self, method: str, path: str, body: object = None, *, within: float | None = None) -> Any:  # noqa: ANN401 - what JSON may be
        """Ask for one thing as ``call`` does; return its JSON.

        Raises:
            BrokenStack: the engine refused, with its own words.
            EngineUnreachableError: it did not answer.
        """
        reply = self.call(method, path, body, within=within)
        if reply.refusal:
            raise BrokenStack(f"the engine refused: {reply.refusal}")
        return reply.document

    def content(self, method: str, path: str, body: object = None, *, within: float | None = None) -> bytes:
        """Ask for one thing as ``call`` does; return its bytes. Raises as ``request`` does."""
        within = self._within if within is None else within
        with _told(self.daemon, within), _asked(self.daemon, method, path, body, within) as answer:
            content = answer.read(MOST)
        if answer.status >= REFUSED:
            raise BrokenStack(f"the engine refused: {_reply(self.daemon, answer.status, content).refusal}")
        return content

    @contextlib.contextmanager
    def stream(self, method: str, path: str, *, within: float, silence: float | None = None) -> Iterator[HTTPResponse]:
        """Ask for something that may go on for ever, and give the answer while it does; reading it is like a socket.

        The arguments are those of ``call``; ``within`` is for the beginning of the answer, ``silence`` how many seconds
        nothing may come after that (None: for ever).

        Raises:
            BrokenStack: the engine refused, with its own words.
            EngineUnreachableError: it did not answer.
        """
        with contextlib.ExitStack() as stack:
            with _told(self.daemon, within):
                answer = stack.enter_context(_asked(self.daemon, method, path, None, within, later=silence))
                refused = answer.status >= REFUSED
                refusal = _reply(self.daemon, answer.status, answer.read(MOST)).refusal if refused else ""
            if refusal:
                raise BrokenStack(f"the engine refused: {refusal}")
            yield answer


def hijack(daemon: Daemon, path: str, *, within: float) -> socket.socket:
    """Ask for a connection in both directions, such as to a container's streams; return it, not blocking.

    Raises as ``Api.request`` does.
    """
    scheme, _, rest = daemon.host.partition("://")
    words = (
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Content-Length: 0",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "",
        "",
    )
    with _told(daemon, within), contextlib.ExitStack() as failed:
        connection = _connection(daemon, scheme, rest, within)
        failed.callback(connection.close)
        if connection.sock is None:
            connection.connect()
        held: socket.socket = connection.sock
        held.sendall("\r\n".join(words).encode())
        _read_switch(held)
        held.settimeout(0)
        failed.pop_all()
    return held


def _read_switch(held: socket.socket) -> None:
    """Read the head of an answer after which a connection is somebody's own. Raises BrokenStack and OSError."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # and no byte more
        byte = held.recv(1)
        if not byte:
            raise ConnectionError("it hung up")
        head += byte
    if int(head.split(None, 2)[1]) >= REFUSED:
        raise BrokenStack(f"the engine refused: {held.recv(1 << 12).decode(errors='replace').strip()}")


def reach(daemon: Daemon, *, within: float) -> Api:
    """Return what speaks to the engine, after it has answered: whether one is there is known sooner than ``within``.

    Raises as ``ask`` does.
    """
    ask(daemon)
    return Api(daemon, within=within)


def query(**values: object) -> str:
    """Return the part of a path behind ``?``: true is 1, and filters are JSON, as the Engine API has them."""
    plain = {key: int(value) if isinstance(value, bool) else value for key, value in values.items()}
    return urlencode({key: json.dumps(value) if isinstance(value, dict) else value for key, value in plain.items()})


def _reply(daemon: Daemon, status: int, content: bytes) -> Reply:
    """Return what an answer says; a refusal that is no JSON, which only a proxy gives, is its own words.

    Raises:
        EngineUnreachableError: it is no JSON, or broke off.
    """
    if content.strip() == DONE:
        return Reply(status, None)
    try:
        return Reply(status, json.loads(content or b"null"))
    except ValueError as error:
        if status >= REFUSED:
            return Reply(status, content.decode(errors="replace"))
        raise _unreachable(daemon, f"its answer is no JSON: {error}") from error


@contextlib.contextmanager
def _told(daemon: Daemon, within: float) -> Iterator[None]:
    """Raise EngineUnreachableError when an engine does not answer in this block."""
    from http.client import HTTPException  # noqa: PLC0415 - every keeper loads this module, few of them an engine

    try:
        yield
    except TimeoutError as error:
        raise _unreachable(daemon, f"no answer in {within:g} s") from error
    except (HTTPException, ValueError) as error:
        raise _unreachable(daemon, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise _unreachable(daemon, error.strerror or str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _asked(
    daemon: Daemon, method: str, path: str, body: object, within: float, *, later: float | None = 0.0
) -> Iterator[HTTPResponse]:
    """Give the answer to a request, which has come within ``within`` seconds.

    What follows may be silent for ``later`` seconds, None for ever; 0 is as long as the beginning.
    """
    scheme, _, rest = daemon.host.partition("://")
    if scheme not in ("unix", "tcp", "http", "https"):
        raise ConfigError(
            f"Docker engine {daemon.host} ({daemon.origin}): {scheme} endpoints are not supported; unix and tcp are"
        )
    kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
    headers = {"Host": "docker"} | ({"Content-Type": kind} if body is not None else {})
    content = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
    with contextlib.closing(_connection(daemon, scheme, rest, within)) as connection:
        connection.request(method, path, content, headers)
        held = connection.sock  # an answer without a length takes it over
        with connection.getresponse() as answer:
            if later != 0:
                held.settimeout(later)
            yield answer


def _connection(daemon: Daemon, scheme: str, rest: str, within: float) -> HTTPConnection:
    import http.client  # noqa: PLC0415 - as in ``_told``

    if scheme == "unix":
        # Its timeout is the socket's, and a socket that is there already is used as it is.
        connection = http.client.HTTPConnection("localhost", timeout=within)
        connection.sock = socket.socket(socket.AF_UNIX)
        # Only so does it wait for its turn where many connect at once: one with a time-out is refused (unix(7)).
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", *_timeval(within)))
        try:
            connection.sock.connect(rest)
            connection.sock.settimeout(within)
        except BlockingIOError as error:
            connection.close()
            raise TimeoutError from error
        except OSError:
            connection.close()
            raise
        return connection
    parts = urlsplit(f"tcp://{rest}")
    if not parts.hostname:
        raise ConfigError(f"Docker engine {daemon.host} ({daemon.origin}) names no host")
    if not daemon.certificates:
        return http.client.HTTPConnection(parts.hostname, parts.port or PLAIN_PORT, timeout=within)
    import ssl  # noqa: PLC0415

    folder = Path(daemon.certificates)
    trusted = folder / "ca.pem"
    context = ssl.create_default_context(cafile=str(trusted) if trusted.is_file() else None)
    if not daemon.verify:
        # As the Docker CLI does for a context or DOCKER_TLS that says so.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if (folder / "cert.pem").is_file():
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return http.client.HTTPSConnection(parts.hostname, parts.port or TLS_PORT, timeout=within, context=context)


def _timeval(seconds: float) -> tuple[int, int]:
    return int(seconds), int(seconds % 1 * 1_000_000)


def connect(daemon: Daemon, *, within: float = PING_BUDGET, timeout: float | None = CALL_BUDGET) -> APIClient:
    """Return a client of the engine, after it has answered.

    Its first answer comes ``within`` seconds, each later one in ``timeout``, None for streams that may be silent.

    Raises as ``ask`` does.
    """
    answer = ask(daemon, within=within)
    from harness import docker_sdk as sdk  # noqa: PLC0415 - only where an engine is in use

    # The SDK's own choice, unless the engine is older than that.
    api = min(answer.api, sdk.DEFAULT_DOCKER_API_VERSION, key=lambda version: tuple(map(int, version.split("."))))
    try:
        tls: Any = None
        if daemon.certificates:
            folder = Path(daemon.certificates)
            tls = sdk.TLSConfig(
                client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
                ca_cert=str(folder / "ca.pem"),
                verify=daemon.verify,
            )
        return sdk.APIClient(base_url=daemon.host, version=api, timeout=cast("Any", timeout), tls=tls)
    except sdk.DockerException as error:
        raise ConfigError(f"Docker engine {daemon.host} ({daemon.origin}): {error}") from error


@contextlib.contextmanager
def in_words(subject: str) -> Iterator[None]:
    """Raise what the engine refuses or does not answer in this block as an error that begins with ``subject``.

    Raises:
        BrokenStack: it refused, with its own words.
        EngineUnreachableError: it did not answer.
    """
    try:
        yield
    except Exception as error:
        from harness.docker_sdk import APIError  # noqa: PLC0415 - loaded where an engine is in use

        if isinstance(error, APIError):
            raise BrokenStack(f"{subject}: the engine refused: {error.explanation or error}") from error
        if is_no_answer(error):
            raise EngineUnreachableError(f"{subject}: the engine did not answer: {cause_of(error)}") from error
        raise


def is_no_answer(error: Exception) -> bool:
    """Return whether the SDK, or what it stands on, says by ``error`` that the engine did not answer to the end."""
    from harness.docker_sdk import NO_ANSWER, APIError  # noqa: PLC0415 - loaded where an engine is in use

    return isinstance(error, NO_ANSWER) and not isinstance(error, APIError)


def cause_of(error: BaseException) -> str:
    """Return what is at the bottom of an error that several libraries have wrapped, in a few words."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        inner = [wrapped for wrapped in error.args if isinstance(wrapped, BaseException)]
        error = inner[-1] if inner else getattr(error, "reason", None) or error.__cause__ or error.__context__ or error
        if not isinstance(error, BaseException):
            return str(error)
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _unreachable(daemon: Daemon, reason: str) -> EngineUnreachableError:
    return EngineUnreachableError(
        f"Docker engine {daemon.host} ({daemon.origin}) does not answer: {reason}",
        hint="start it, point DOCKER_HOST at another one, or use --engine embedded",
    )
