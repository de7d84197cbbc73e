"""HTTP for tests and probes: one deadline, a time-out on each request, the last answer in the error."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.clock import Deadline, poll
from harness.errors import WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from _typeshed import WriteableBuffer

BODY_LIMIT = 4 * 1024 * 1024
REQUEST_BUDGET = 2.0


@dataclass(frozen=True)
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

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON. Raises ValueError when it is none."""
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("JSON that is nested too deeply") from error

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return f"status {self.status}, {self.body[:200].decode(errors='backslashreplace')!r}"


class _Socket(socket.socket):
    """A socket whose reads share one deadline: a time-out on each would let a server drip bytes for ever."""

    deadline: Deadline

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        left = self.deadline.remaining()
        if not left:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(buffer, nbytes, flags)


class _Connection(http.client.HTTPConnection):
    """A connection with one time-out for connecting, sending and the whole answer."""

    def connect(self) -> None:
        deadline = Deadline.after(self.timeout or REQUEST_BUDGET)
        plain = socket.create_connection((self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = _Socket(plain.family, plain.type, plain.proto, plain.detach())
        made.deadline = deadline
        made.settimeout(max(0.001, deadline.remaining()))
        self.sock = made


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
    connection = _Connection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read(BODY_LIMIT)
        # read(n) is silent about a body that ends before its declared length.
        if response.length and len(content) < BODY_LIMIT:
            raise http.client.IncompleteRead(content, response.length)
        return Answer(response.status, content, {k.lower(): v for k, v in response.getheaders()})
    except TimeoutError:
        return Answer(0, problem=f"no answer in {timeout:g} s")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, problem=_problem(error))
    finally:
        connection.close()


def _problem(error: Exception) -> str:
    """Return an error as one line of bounded length: it may quote what the server sent."""
    said = str(error).strip()[:200].encode("unicode_escape").decode()
    return f"{type(error).__name__}: {said}".rstrip(": ")


def json_mismatch(document: Any, wanted: Mapping[str, Any]) -> str:  # noqa: ANN401 - any JSON value
    """Return how ``document`` differs from ``wanted`` (dotted path: value), as words; "" when it does not."""
    for path, value in wanted.items():
        found = document
        for step in path.split("."):
            if isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                return f"no {path} in the answer"
        if found != value:
            return f"{path} is {found!r}, {value!r} was needed"
    return ""


def wait_for(
    endpoint: str,
    path: str = "/",
    *,
    status: Collection[int] = (200,),
    wanted: Callable[[Answer], object] = lambda _: True,
    timeout: float = 10.0,
) -> Answer:
    """Ask ``http://endpoint/path`` until an answer has one of ``status`` and ``wanted`` is true for it.

    Args:
        endpoint: ``host:port``.
        path: the path to ask for.
        status: acceptable status codes.
        wanted: a further condition.
        timeout: seconds for all tries together.

    Raises:
        WaitTimeout: with the last answer.
    """
    __tracebackhide__ = True
    host, _, port = endpoint.rpartition(":")
    last = Answer(0, problem="not asked")
    deadline = Deadline.patient(timeout)
    for _ in poll(deadline):
        last = ask(host, int(port), path, timeout=max(0.05, min(REQUEST_BUDGET, deadline.remaining())))
        if last.status in status and wanted(last):
            return last
    raise WaitTimeout(
        f"http://{endpoint}{path} did not answer as wanted in {timeout:g} s; last: {last}",
        details=[f"  wanted: status {', '.join(map(str, status))}"],
    )
