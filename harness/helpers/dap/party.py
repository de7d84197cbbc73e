"""One party of DAP, as the test API shows it: commands that are POSTed as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.clock import Deadline, check_guards, poll
from harness.errors import WaitTimeout
from harness.helpers.dap.failures import DapFailure
from harness.helpers.http_plain import Answer, address_of, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

API = "/internal/test/"
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_OK = 200


@dataclass(frozen=True)
class Party:
    """A client, leader, helper or collector.

    Attributes:
        name: what it is called in errors.
        endpoint: ``host:port`` of its test API, such as ``stack.endpoint("leader", 8080)``.
        inside: ``host:port`` as the other parties see it; "" where they see it as a test does.
        timeout: seconds for one command.
    """

    name: str
    endpoint: str
    inside: str = ""
    timeout: float = 10.0

    def post(self, command: str, body: bytes, *, timeout: float | None = None) -> Answer:
        """Post bytes as a command and return what came. It does not raise for what a party can do wrong."""
        host, port, path = address_of(self.endpoint)
        seconds = self.timeout if timeout is None else timeout
        return ask(host, port, f"{path}{API}{command}", method="POST", body=body, headers=_JSON, timeout=seconds)

    def command(self, command: str, values: Mapping[str, object], *, timeout: float | None = None) -> dict[str, Any]:
        """Give a command and return what its answer says.

        Raises:
            DapFailure: it was refused, or came to nothing; or the answer is none of this API.
            BrokenStack: the party's service has died.
        """
        __tracebackhide__ = True
        answer = self.post(command, json.dumps(dict(values)).encode(), timeout=timeout)
        if answer.problem:
            check_guards()  # that it died is the better reason
            raise DapFailure(self.name, command, answer.problem)
        said = self._object(command, answer)
        if answer.status != _OK or said.get("status") == "error":
            raise DapFailure(
                self.name, command, str(said.get("error") or f"status {answer.status}"), status=answer.status
            )
        if command != "ready" and "status" not in said:
            raise DapFailure(self.name, command, f"the answer has no status: {answer}", status=answer.status)
        return said

    def _object(self, command: str, answer: Answer) -> dict[str, Any]:
        try:
            said = answer.json()
        except ValueError:
            said = None
        if isinstance(said, dict):
            return said
        raise DapFailure(self.name, command, f"the answer is no JSON object: {answer}", status=answer.status)

    def wait_ready(self, *, timeout: float = 10.0) -> None:
        """Wait until it says that it is ready.

        Raises:
            WaitTimeout: it did not, with its last answer.
            BrokenStack: its service has died.
        """
        __tracebackhide__ = True
        answer, deadline = Answer(0, problem="it was not asked"), Deadline.patient(timeout)
        for _ in poll(deadline):
            answer = self.post("ready", b"{}", timeout=max(0.05, min(2.0, deadline.remaining())))
            if answer.status == _OK:
                return
        raise WaitTimeout(f"DAP {self.name} at {self.endpoint} is not ready in {timeout:.3g} s: {answer}")

    def url(self, endpoint: str) -> str:
        """Return the URL of its DAP endpoint that the other parties use, of what ``endpoint_for_task`` has told.

        Raises:
            DapFailure: that is no URL.
        """
        try:
            is_whole = urlsplit(endpoint).scheme in {"http", "https"}
        except ValueError as error:
            raise DapFailure(self.name, "endpoint_for_task", f"{endpoint!r} is no URL") from error
        return endpoint if is_whole else f"http://{self.inside or self.endpoint}/{endpoint.lstrip('/')}"
