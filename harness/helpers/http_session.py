"""A session of requests that is bound to one endpoint and keeps one deadline for each request."""

from __future__ import annotations

import copy
import http.client
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError

from harness.clock import Deadline, poll
from harness.errors import ConfigError, HarnessError, WaitTimeout
from harness.helpers.http_plain import (
    BODY_LIMIT,
    Answer,
    DeadlineSocket,
    Retries,
    Wanted,
    address_of,
    connect,
    mask,
    problem_of,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import ConnectionPool

    from harness.helpers.http_plain import Conditions

HELD = 64 * 1024 * 1024
"""Bytes of one answer that a session holds in memory; with ``stream=True`` there may be more."""


class NoAnswer(HarnessError, requests.ConnectionError):
    """A request was not answered, or not to the end."""


class TooLate(WaitTimeout, requests.Timeout):
    """A request, its redirects and repetitions included, was not answered in time."""


@dataclass
class _Exchange:
    """One request of a test, with all its redirects and repetitions."""

    deadline: Deadline
    allowance: int | None
    failed: list[str] = field(default_factory=list)


_exchange: ContextVar[_Exchange] = ContextVar("harness-http-exchange")


class _Connection(urllib3.connection.HTTPConnection):
    """A connection that keeps the deadline of the exchange it is used in."""

    def _new_conn(self) -> DeadlineSocket:
        try:
            connection = connect(self.host, self.port, _exchange.get().deadline)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        connection.allowance = _exchange.get().allowance
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has them
        # Never on a connection that was used: the service may just be closing it, or was restarted since.
        self.close()
        super().request(*args, **kwargs)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _Repetition(urllib3.Retry):
    """Repetitions within the deadline of the exchange."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: ARG002 - urllib3's
        return method.upper() in (self.allowed_methods or ()) and status_code in self.status_forcelist

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        exchange = _exchange.get()
        exchange.failed.append(problem_of(_root(error)) if error else f"status {response.status if response else '?'}")
        if error and (method or "").upper() not in (self.allowed_methods or ()):
            # Not the error itself: requests knows what to make of this one only.
            raise MaxRetryError(_pool, url or "", error) from error  # type: ignore[arg-type] # as urllib3 itself does
        after = super().increment(method, url, response, error, _pool, _stacktrace)
        if after.seconds(response) >= exchange.deadline.remaining():
            reason = error or HTTPError("no time left")
            raise MaxRetryError(_pool, url or "", reason) from reason  # type: ignore[arg-type] # as urllib3 itself does
        return after

    def seconds(self, response: BaseHTTPResponse | None) -> float:
        """Return how long to pause before the next try."""
        return (self.get_retry_after(response) if response else None) or self.get_backoff_time()

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        for _ in poll(_exchange.get().deadline.sooner(self.seconds(response))):
            """A service that dies meanwhile ends the pause."""


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests has them
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool}


class Session(requests.Session):
    """A ``requests.Session`` for the paths of one endpoint. Close it, or use it in ``with``.

    Its methods take paths (``get("/path")``); a redirect to another host is an error. Variables for proxies and
    .netrc are ignored. Each request has a time-out (``timeout=``, seconds, else the session's) for all of it:
    connecting, repetitions, redirects and the whole answer. What it raises are errors of requests and of ours at once.

    Args:
        endpoint: ``host:port``, or ``http://host:port/path`` (``stack.url(...)``), which paths are appended to.
        headers: sent with each request.
        timeout: seconds for one request.
        retries: what is tried again; by default nothing, so that a test sees what the service does.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        retries: Retries | None = None,
    ) -> None:
        super().__init__()
        host, port, path = address_of(endpoint)
        self._place = (host, port)
        self.base = f"http://{host}:{port}{path}"
        self.timeout = timeout
        self.trust_env = False
        self.headers.update({"Connection": "close", **(headers or {})})
        self.adapters.clear()
        self.mount("http://", _Adapter(max_retries=_repetition(retries or Retries(tries=0))))

    def __repr__(self) -> str:
        return f"<Session {self.base}>"

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return what is sent for a request whose URL is a path.

        Raises:
            ConfigError: its URL is no path.
        """
        path = str(request.url)
        if not path.startswith("/"):
            raise ConfigError(f"A session of {self.base} takes paths that begin with /, not {mask(path)!r}")
        bound = copy.copy(request)
        bound.url = self.base + path
        return super().prepare_request(bound)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as requests
        """Send a prepared request.

        Raises:
            NoAnswer: it was not answered, or not to the end.
            TooLate: not in time.
            HarnessError: it would leave the endpoint.
        """
        __tracebackhide__ = True
        url = request.url or ""
        if not self._is_here(url):
            raise HarnessError(f"{self.base} redirects to {mask(url)}, which is not this endpoint")
        timeout = kwargs.get("timeout")
        timeout = self.timeout if timeout is None else timeout
        if not isinstance(timeout, int | float) or timeout <= 0:
            raise ConfigError(f"timeout={timeout!r}: seconds for the whole request are needed")
        kwargs.update(proxies={}, timeout=timeout)
        if _exchange.get(None) is not None:  # a redirect of a request that is under way
            return super().send(request, **kwargs)
        exchange = _Exchange(Deadline.after(timeout), None if kwargs.get("stream") else HELD)
        token = _exchange.set(exchange)
        try:
            return super().send(request, **kwargs)
        except requests.RequestException as error:
            # Without its cause: requests quotes the URL with all that is in it.
            raise self._failure(request, exchange, error) from None
        finally:
            _exchange.reset(token)

    def wait_for(self, path: str, *, timeout: float = 10.0, **conditions: Unpack[Conditions]) -> requests.Response:
        """Get ``path`` until the answer is as wanted, and return it; arguments and errors as ``http.wait_for`` has."""
        __tracebackhide__ = True
        responses: list[requests.Response] = []

        def get(budget: float) -> Answer:
            try:
                response = self.get(path, timeout=budget)
            except TooLate:
                return Answer(0, problem=f"no answer in {budget:.2g} s")
            except NoAnswer as error:
                return Answer(0, problem=error.details[-1].strip())
            responses[:] = [response]
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, response.content[:BODY_LIMIT], headers)

        try:
            wait_until(get, self.base + path, Wanted(**conditions), timeout)
        except WaitTimeout as error:
            raise WaitTimeout(self._hidden(error.summary), details=[*map(self._hidden, error.details)]) from None
        return responses[0]

    def _is_here(self, url: str) -> bool:
        parts = urlsplit(url)
        names = [{"localhost": "127.0.0.1"}.get(name, name) for name in (parts.hostname or "", self._place[0])]
        return parts.scheme == "http" and names[0] == names[1] and (parts.port or 80) == self._place[1]

    def _failure(
        self, request: requests.PreparedRequest, exchange: _Exchange, error: requests.RequestException
    ) -> NoAnswer | TooLate:
        late = exchange.deadline.expired() or isinstance(error, requests.Timeout)
        last = problem_of(_root(error))
        tries = [*exchange.failed, *([] if exchange.failed and exchange.failed[-1] == last else [last])]
        who = f"{request.method} {mask(request.url or '')}"
        kind, reason = (TooLate, f"no answer in {exchange.deadline.budget:g} s") if late else (NoAnswer, last)
        sent = _credentials(request.headers)
        raised = kind(
            self._hidden(f"{who}: {reason}", sent), details=[self._hidden(f"  {line}", sent) for line in tries[-10:]]
        )
        raised.request = request
        return raised

    def _hidden(self, text: str, more: Iterable[str] = ()) -> str:
        """Return ``text`` without the credentials that this session sends, and ``more``: a server may echo them."""
        sent = [*_credentials(self.headers), *more]
        sent += [word for value in sent for word in re.split(r"[\s;=]+", value)[1:]]
        sent += [cookie.value or "" for cookie in self.cookies]
        if isinstance(self.auth, tuple):
            sent.append(str(self.auth[1]))
        for value in sorted(sent, key=len, reverse=True):
            if len(value) >= _TELLING_LENGTH:
                text = text.replace(value, "...")
        return text


def _credentials(headers: Mapping[str, str | bytes]) -> list[str]:
    """Return what may be a credential: the values of all headers but those that anybody sends."""
    values = [value for name, value in headers.items() if name.lower() not in _HARMLESS]
    return [value if isinstance(value, str) else value.decode("latin-1") for value in values]


_TELLING_LENGTH = 4  # characters: shorter values would be found by chance, and make an error unreadable
_HARMLESS = {name.lower() for name in requests.utils.default_headers()} | {"content-type", "content-length"}


def _repetition(retries: Retries) -> _Repetition:
    return _Repetition(
        total=retries.tries,
        redirect=False,
        allowed_methods=retries.methods,
        status_forcelist=retries.statuses if retries.tries else (),
        backoff_factor=retries.pause / 2,  # urllib3 doubles it before it is first used
        backoff_max=retries.longest,
        raise_on_status=False,
    )


def _root(error: BaseException) -> Exception:
    """Return what requests and urllib3 have wrapped up."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        causes = (cause for cause in (*reversed(error.args), error.__cause__) if isinstance(cause, Exception))
        inner = getattr(error, "reason", None) or next(causes, None)
        if not isinstance(inner, Exception) or isinstance(error, http.client.HTTPException):
            break
    return error if isinstance(error, Exception) else Exception(str(error))
