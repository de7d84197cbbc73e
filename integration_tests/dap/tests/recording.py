"""Two aggregators that keep what they are sent (dap09/recorder.py), and what tests of draft 09 read of that."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.helpers.dap import Deployment, Task
from harness.helpers.dap.tasks import decoded, encoded
from integration_tests.dap.tests.hpke import Key, config_list
from integration_tests.dap.tests.prio3 import measured, prio3_of
from integration_tests.dap.tests.reports import CONFIGS, HELPER, LEADER, InputShare, Report
from integration_tests.dap.tests.suite import party

if TYPE_CHECKING:
    from collections.abc import Sequence

    import harness
    from harness.helpers.dap import Party, Vdaf

DIALECT = "09"
PROBLEM = "urn:ietf:params:ppm:dap:error:"
UPLOAD = "upload"


@dataclass(frozen=True)
class Client:
    """What a client makes of what draft 09 leaves open.

    Attributes:
        name: its service.
        needs_task: whether it understands a problem document with the task's ID only.
        is_stubborn: whether it asks again when an aggregator is in trouble.
        takes_new_keys: whether it asks for keys anew, once, when the leader says that its own are outdated.
    """

    name: str
    needs_task: bool
    is_stubborn: bool
    takes_new_keys: bool


CLIENTS = {
    client.name: client
    for client in (
        Client("client_janus", needs_task=False, is_stubborn=True, takes_new_keys=False),
        Client("client_divviup", needs_task=True, is_stubborn=False, takes_new_keys=True),
    )
}
"""By the name of the service."""


@dataclass(frozen=True)
class Answer:
    """What a recorder answers once."""

    status: int
    content_type: str = ""
    body: bytes = b""
    silent: bool = False

    @property
    def told(self) -> dict[str, object]:
        """As the recorder takes it."""
        body = encoded(self.body)
        return {"status": self.status, "content_type": self.content_type, "body": body, "silent": self.silent}


TAKEN = Answer(201)
SILENT = Answer(0, silent=True)


def keys(*configs: bytes) -> Answer:
    """Return the answer that tells keys."""
    return Answer(200, CONFIGS, config_list(*configs))


def problem(name: str, status: int = 400, **more: object) -> Answer:
    """Return the answer that is a problem document of DAP."""
    document = {"type": f"{PROBLEM}{name}", "title": f"It is {name}.", "status": status, **more}
    return Answer(status, "application/problem+json", json.dumps(document).encode())


@dataclass(frozen=True)
class Request:
    """A request of DAP that a recorder kept."""

    line: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Recording:
    """A task of one client, whose aggregators keep what they are sent.

    Attributes:
        task: the task.
        client: what is known of its client.
        leader_key: the leader's.
        helper_key: the helper's.
    """

    task: Task
    client: Client
    leader_key: Key = field(default_factory=lambda: Key(17))
    helper_key: Key = field(default_factory=lambda: Key(34))

    def tell(
        self,
        leader: Sequence[Answer] = (),
        helper: Sequence[Answer] = (),
        upload: Sequence[Answer] = (TAKEN,),
    ) -> None:
        """Tell both aggregators the task, and what they answer; without a word their keys, and that all is well."""
        told_leader = leader or (keys(self.leader_key.config),)
        told_helper = helper or (keys(self.helper_key.config),)
        self.task.add_to("leader", answers=_told(hpke_config=told_leader, upload=upload))
        self.task.add_to("helper", answers=_told(hpke_config=told_helper))

    def requests(self, role: str) -> list[Request]:
        """Return all requests that came to the ``leader`` or the ``helper``."""
        deployment = self.task.deployment
        asked: Party = deployment.leader if role == "leader" else deployment.helper
        came: list[dict[str, Any]] = asked.command("requests", {"task_id": self.task.id})["requests"]
        return [Request(one["line"], one["query"], one["headers"], decoded(one["body"].rstrip("="))) for one in came]

    def uploads(self) -> list[Request]:
        """Return those that brought the leader something."""
        return [request for request in self.requests("leader") if not request.line.startswith("GET ")]

    def reports(self) -> list[Report]:
        """Return what the leader was brought. Raises ValueError when something is no report."""
        return [Report.decode(request.body) for request in self.uploads()]

    def report(self) -> Report:
        """Return the only report."""
        (report,) = self.reports()
        return report

    def shares(self, report: Report) -> tuple[InputShare, InputShare]:
        """Return the leader's share of a report and the helper's. Raises ``hpke.Unopened``."""
        task, dialect = decoded(self.task.id), self.task.deployment.dialect
        leader = report.open(LEADER, self.leader_key, task=task, dialect=dialect)
        return leader, report.open(HELPER, self.helper_key, task=task, dialect=dialect)

    def measured(self, report: Report) -> int:
        """Return what the client measured, by both shares. Raises ValueError when they are none of the task's VDAF."""
        vdaf = self.task.vdaf
        leader, helper = self.shares(report)
        return measured(vdaf, prio3_of(vdaf).elements_of(leader.payload, helper.payload))


def _told(**answers: Sequence[Answer]) -> dict[str, list[dict[str, object]]]:
    return {kind: [answer.told for answer in listed] for kind, listed in answers.items()}


def recording_of(stack: harness.Stack, client: Client, vdaf: Vdaf, time_precision: int = 300) -> Recording:
    """Return a new task, of which both aggregators are still to be told."""
    leader, helper = (party(stack, name) for name in ("leader", "helper"))
    deployment = Deployment.of(  # nobody collects: the leader stands in
        {"client": party(stack, client.name), "leader": leader, "helper": helper, "collector": leader}, DIALECT
    )
    task = deployment.task(vdaf, time_precision=time_precision)
    task.locate()
    return Recording(task, client)
