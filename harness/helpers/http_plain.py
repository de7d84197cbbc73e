"""Requests and answers of HTTP by the standard library alone, with one deadline for all of a request."""

from __future__ import annotations

import http.client
import json as json_format
import re
import select
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from urllib.parse import urlsplit

from harness.clock import Deadline, poll
from harness.errors import ConfigError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from _typeshed import ReadableBuffer, WriteableBuffer

BODY_LIMIT = 4 * 1024 * 1024
REQUEST_BUDGET = 2.0
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110, section 9.2.2

_BODY_SHOWN = 500
# Headers that say why an answer is not the wanted one. Others, credentials and cookies among them, are never shown.
_TELLING = ("content-type", "content-length", "location", "retry-after", "allow", "server")
_TELLTALE = r"token|secret|passw|api[-_]?key|access[-_]?key|auth|credential|session|signature|\bsig\b|\bkey\b|\bcode\b"
_IN_QUERY = re.compile(rf"([?&;][^=&;#]*(?:{_TELLTALE})[^=&;#]*=)[^&;#\s]*", re.IGNORECASE)
_IN_JSON = re.compile(rf"""("[^"]*(?:{_TELLTALE})[^"]*"\s*:\s*")(?:[^"\\]|\\.)*""", re.IGNORECASE)
_SECRET_NAME = re.compile(_TELLTALE, re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(//)[^/?#\s]*@")
_VALUE_SHOWN = 200


@dataclass(frozen=True, repr=False)
class Answer:
    """An HTTP answer, or why there is none.

    Attributes:
        status: its status code, 0 when nothing answered.
        body: at most 4 MiB of its body.
        headers: its headers, names in lower case.
        problem: why nothing answered.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacements for what is none."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON. Raises ValueError when it is none."""
        try:
            return json_format.loads(self.body)
        except RecursionError as error:
            raise ValueError("JSON that is nested too deeply") from error

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return f"status {self.status}, {self._head(200)!r}"

    def __repr__(self) -> str:
        return f"<Answer: {self}>"

    def _head(self, count: int) -> str:
        # Masked before it is cut: a cut in the middle of a secret would hide what it is.
        return mask(self.body[: 4 * count].decode(errors="backslashreplace"))[:count]

    def lines(self) -> list[str]:
        """Return it for the details of an error: status, the headers that tell something, the body's beginning."""
        if self.problem:
            return [f"last: {self.problem}"]
        headers = [f"  {name}: {mask(self.headers[name])}" for name in _TELLING if name in self.headers]
        return [f"last: status {self.status}, {len(self.body)} bytes", *headers, f"  {self._head(_BODY_SHOWN)!r}"]


@dataclass(frozen=True)
class Retries:
    """What a ``Session`` tries again before it gives a test an answer, within the request's time-out.

    Attributes:
        statuses: answers that are tried again; the last one is returned when tries or time run out.
        methods: methods that are tried again, after such an answer or when the connection was refused, reset or closed
            before an answer. Only those that may be repeated, unless others are named.
        tries: repetitions at most.
        pause: seconds before the second repetition, doubled each time; the first comes at once. What the server says
            in ``Retry-After`` goes before.
        longest: seconds that a pause grows to.
    """

    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    methods: frozenset[str] = IDEMPOTENT
    tries: int = 50
    pause: float = 0.05
    longest: float = 1.0


class Conditions(TypedDict, total=False):
    """The keyword arguments of ``wait_for``; they are the attributes of ``Wanted``."""

    status: Collection[int]
    headers: Mapping[str, str | re.Pattern[str]]
    body: str | re.Pattern[str]
    json: Mapping[str, Any] | Callable[[Any], object]
    wanted: Callable[[Answer], object]


@dataclass(frozen=True)
class Wanted:
    """What an answer must be like; all of it must hold.

    Attributes:
        status: acceptable status codes.
        headers: name -> a text that the header contains, or a regex that is found in it.
        body: a text that the body contains, or a regex that is found in it.
        json: dotted path -> value, as in probes; or a function that is given the document and tells whether it is the
            one. What it misses there (KeyError, IndexError, TypeError) is not yet there.
        wanted: a further condition, given the answer.
    """

    status: Collection[int] = (200,)
    headers: Mapping[str, str | re.Pattern[str]] = field(default_factory=dict)
    body: str | re.Pattern[str] = ""
    json: Mapping[str, Any] | Callable[[Any], object] | None = None
    wanted: Callable[[Answer], object] | None = None

    def missing(self, answer: Answer) -> str:
        """Return in words what is missing or wrong in ``answer``; "" when nothing is."""
        if answer.status not in self.status:
            needed = " or ".join(map(str, self.status))
            return f"{answer.problem or f'status {answer.status}'}; status {needed} was needed"
        for name, text in self.headers.items():
            value = answer.headers.get(name.lower())
            if value is None:
                return f"no header {name}"
            if not _found(text, value):
                return f"header {name} is not {_words(text)}"
        if self.body and not _found(self.body, answer.text):
            return f"no {_words(self.body)} in the body"
        return self._json_missing(answer) or self._unwanted(answer)

    def _json_missing(self, answer: Answer) -> str:
        if self.json is None:
            return ""
        try:
            document = answer.json()
        except ValueError:
            return "the body is no JSON"
        if not callable(self.json):
            return json_mismatch(document, self.json)
        try:
            return "" if self.json(document) else f"{_name(self.json)} does not hold for the document"
        except (LookupError, TypeError) as error:
            return f"{_name(self.json)} does not hold for the document: {problem_of(error)}"

    def _unwanted(self, answer: Answer) -> str:
        if self.wanted is None or self.wanted(answer):
            return ""
        return f"{_name(self.wanted)} does not hold for the answer"


def _found(text: str | re.Pattern[str], value: str) -> bool:
    return text in value if isinstance(text, str) else bool(text.search(value))


def _words(text: str | re.Pattern[str]) -> str:
    return repr(text) if isinstance(text, str) else f"/{text.pattern}/"


def _name(function: Callable[..., object]) -> str:
    name = str(getattr(function, "__name__", "the condition"))
    return "the condition" if name == "<lambda>" else name


def mask(text: str) -> str:
    """Return ``text`` without users in URLs, and values of query parameters and JSON members with telling names."""
    return _IN_JSON.sub(r"\1...", _IN_QUERY.sub(r"\1...", _BEFORE_HOST.sub(r"\1...@", text)))


def address_of(endpoint: str) -> tuple[str, int, str]:
    """Return host, port and path of ``host:port`` or ``http://host:port/path``; the path has no slash at its end.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"Endpoint {endpoint!r} is not host:port: {error}") from error
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme != "http" or not host or not plain or (port is None and "://" not in endpoint):
        # Not shown: what stands before an @ is a password.
        shown = repr(endpoint) if parts.username is None else "with a user name in it"
        raise ConfigError(f"Endpoint {shown} is not host:port or http://host:port/path")
    return host, port or 80, parts.path.rstrip("/")


class DeadlineSocket(socket.socket):
    """A socket that keeps one deadline: a time-out on each read would let a server drip bytes for ever.

    Attributes:
        deadline: when reads and writes end with TimeoutError.
        allowance: bytes that may still be read before OSError, None for any number.
    """

    deadline: Deadline
    allowance: int | None = None

    def _arm(self) -> None:
        left = self.deadline.remaining()
        if not left:
            raise TimeoutError
        self.settimeout(left)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Read as a socket does, until the deadline. Raises OSError beyond the allowance."""
        self._arm()
        count = super().recv_into(buffer, nbytes, flags)
        if self.allowance is not None:
            self.allowance -= count
            if self.allowance < 0:
                raise OSError("the answer is too large to be held in memory")
        return count

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send as a socket does, until the deadline."""
        self._arm()
        super().sendall(data, flags)


def connect(host: str, port: int, deadline: Deadline) -> DeadlineSocket:
    """Return a connection. ``localhost`` is 127.0.0.1 and nothing else: on ::1 there may be a stranger.

    Raises:
        OSError: there is none; TimeoutError when the deadline has passed.
    """
    address = ("127.0.0.1" if host.lower() == "localhost" else host, port)
    plain = socket.create_connection(address, max(0.001, deadline.remaining()))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = DeadlineSocket(plain.family, plain.type, plain.proto, plain.detach())
    connection.deadline = deadline
    connection.settimeout(max(0.001, deadline.remaining()))
    return connection


class _Connection(http.client.HTTPConnection):
    """A connection with one time-out for connecting, sending and the whole answer."""

    sock: DeadlineSocket | None

    def connect(self) -> None:
        self.sock = connect(self.host, self.port, Deadline.after(self.timeout or REQUEST_BUDGET))


class Line:
    """A connection to a server that is kept from one request to the next, for those who ask often.

    A request that finds a kept connection closed is made once more on a new one, as RFC 9112 (9.3.1) lets clients do:
    none may be of a kind that must not be made twice.

    Args:
        host: of the server.
        port: of the server.
        timeout: seconds for connecting, sending and the whole answer together, of each request.
    """

    def __init__(self, host: str, port: int, timeout: float = REQUEST_BUDGET) -> None:
        self._connection = _Connection(host, port, timeout=timeout)
        self._timeout = timeout

    def close(self) -> None:
        """Disconnect, for now."""
        self._connection.close()

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request, follow nothing, and return what came. It raises nothing for what a server can do wrong."""
        is_kept = self._is_kept()
        try:
            return self._ask(path, method, body, headers or {})
        except TimeoutError:
            return Answer(0, problem=f"no answer in {self._timeout:g} s")
        except (OSError, http.client.HTTPException) as error:
            if is_kept and isinstance(error, ConnectionError):  # that there is no answer is one, too
                return self.ask(path, method=method, body=body, headers=headers)
            return Answer(0, problem=problem_of(error))

    def _ask(self, path: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        is_over = False
        try:
            self._connection.request(method, path, body=body, headers=dict(headers))
            response = self._connection.getresponse()
            content = response.read(BODY_LIMIT)
            # read(n) is silent about a body that ends before its declared length.
            if response.length and len(content) < BODY_LIMIT:
                raise http.client.IncompleteRead(content, response.length)
            is_over = response.isclosed()
            return Answer(response.status, content, {k.lower(): v for k, v in response.getheaders()})
        finally:
            if not is_over:
                self.close()

    def _is_kept(self) -> bool:
        """Return whether the next request goes by the connection of the one before, which is given its time."""
        connection = self._connection.sock
        if connection is None:
            return False
        if select.select([connection], [], [], 0)[0]:  # closed, or it sent what nobody asked for
            self.close()
            return False
        connection.deadline = Deadline.after(self._timeout)
        return True


def ask(  # noqa: PLR0913 - an HTTP request has this many parts
    host: str,
    port: int,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = REQUEST_BUDGET,
) -> Answer:
    """Make one request, follow nothing, and return what came. It does not raise for what a server can do wrong.

    Connecting, sending and the whole answer together take no longer than ``timeout`` seconds.
    """
    line = Line(host, port, timeout)
    try:
        return line.ask(path, method=method, body=body, headers=headers)
    finally:
        line.close()


def problem_of(error: Exception) -> str:
    """Return an error as one line of bounded length: it may quote what the server sent."""
    text = str(error).strip()[:200].encode("unicode_escape").decode()
    return f"{type(error).__name__}: {text}".rstrip(": ")


def json_mismatch(document: Any, wanted: Mapping[str, Any]) -> str:  # noqa: ANN401 - any JSON value
    """Return how ``document`` differs from ``wanted`` (dotted path: value), as words; "" when it does not."""
    for path, value in wanted.items():
        part = document
        for step in path.split("."):
            if isinstance(part, list) and step.isdigit() and int(step) < len(part):
                part = part[int(step)]
            elif isinstance(part, dict) and step in part:
                part = part[step]
            else:
                return f"no {path} in the answer"
        if part != value:
            if isinstance(part, str) and _SECRET_NAME.search(path):
                return f"{path} is another"
            return f"{path} is {_shown(part)}, {_shown(value)} was needed"
    return ""


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a part of a document for one line, without what its members' names say is secret."""
    if isinstance(value, dict | list):
        text = json_format.dumps(value, ensure_ascii=False, default=repr)
        value = mask(text[: 4 * _VALUE_SHOWN]).encode(errors="backslashreplace").decode()
    else:
        value = repr(value)
    return value if len(value) <= _VALUE_SHOWN else f"{value[:_VALUE_SHOWN]}..."


def wait_for(endpoint: str, path: str = "/", *, timeout: float = 10.0, **conditions: Unpack[Conditions]) -> Answer:
    """Ask ``http://endpoint/path`` until an answer is as ``conditions`` want it; by default until its status is 200.

    Args:
        endpoint: ``host:port``, or ``http://host:port``.
        path: the path to ask for.
        timeout: seconds for all tries together.
        conditions: ``status``, ``headers``, ``body``, ``json``, ``wanted``; see ``Wanted``.

    Raises:
        WaitTimeout: with what was not as wanted in the last answer, and that answer.
    """
    __tracebackhide__ = True
    host, port, prefix = address_of(endpoint)
    return wait_until(
        lambda budget: ask(host, port, prefix + path, timeout=budget),
        f"http://{host}:{port}{prefix}{path}",
        Wanted(**conditions),
        timeout,
    )


def wait_until(get: Callable[[float], Answer], url: str, wanted: Wanted, timeout: float) -> Answer:
    """Call ``get``, given the seconds that it may take, until its answer is as wanted; ``url`` is for the error.

    Raises:
        WaitTimeout: it was not in ``timeout`` seconds.
    """
    __tracebackhide__ = True
    answer, missing, turn = Answer(0, problem="not asked"), "", 0
    deadline = Deadline.patient(timeout)
    for turn in poll(deadline):  # noqa: B007 - told in the error
        answer = get(max(0.05, min(REQUEST_BUDGET, deadline.remaining())))
        missing = wanted.missing(answer)
        if not missing:
            return answer
    raise WaitTimeout(
        f"{mask(url)} in {timeout:g} s: {mask(missing)}",
        details=[*(f"  {line}" for line in answer.lines()), f"  asked {turn + 1} times"],
    )
