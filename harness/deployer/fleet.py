"""The copies that a deployer has made, brought up by the same stages as any stack, as a client of the keeper."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness import procs
from harness.artifacts import last_lines, printable, read_log
from harness.clock import Deadline, poll
from harness.config import load_settings, read_sources
from harness.deployer.asking import Create, ListAll, Logs, LookAt, Refusal, Remove, Restart
from harness.errors import BrokenStack, ConfigError, HarnessError, nearest
from harness.keeper.living import find_one
from harness.keeper.messages import Look, Services
from harness.reporting import WorkerFolder
from harness.runs.bringing import Bringing
from harness.runs.choice import choose
from harness.runs.environment import Environment
from harness.runs.planning import Site
from harness.runs.run import Run
from harness.runs.settling import Settling
from harness.stack import copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.deployer.asking import Asked
    from harness.engine.known import Known
    from harness.engine.layout import Layout, Stranger
    from harness.keeper.messages import ServiceFacts
    from harness.runs.deploying import Order
    from harness.stack import Template, Tree

_T = TypeVar("_T")
AT_ONCE = 8  # copies that come up side by side
SPARE = 8  # addresses beyond what copies there may be, so that one that was removed is not at once another's
NEWS = 2.0  # seconds in which the end of a process that is over is told
LINES = 30  # of the log of a copy that did not settle


@dataclass(frozen=True)
class CopySite(Site):
    """Where a copy comes up: at the addresses of its place among the copies, so that these are used again.

    Attributes:
        place: the name by which its addresses and ports are leased, in place of its stack's.
    """

    place: str = ""

    def lay_out(self, strangers: Mapping[tuple[int, str], Stranger]) -> Layout:
        """Return where things are."""
        name = self.tree.root.name
        placed = self.tree.root.model_copy(update={"name": self.place})
        layout = Site(self.choice, self.environment, self.tree.model_copy(update={"stacks": (placed,)})).lay_out(
            strangers
        )
        return replace(
            layout,
            addresses=_renamed(layout.addresses, self.place, name),
            ports=_renamed(layout.ports, self.place, name),
        )


def _renamed(table: Mapping[str, _T], old: str, new: str) -> dict[str, _T]:
    return {key.replace(f"{old}/", f"{new}/", 1): value for key, value in table.items()}


@dataclass
class Copy:
    """A copy of a template.

    Attributes:
        name: as it was asked for.
        template: of which it is.
        stack: its stack's name.
        place: by which its addresses are leased.
        doing: what is done to it: ``starting``, ``restarting``, ``removing``, "" for nothing.
        url: where it answers.
        log_from: where its log begins in the file.
    """

    name: str
    template: str
    stack: str
    place: str
    doing: str = "starting"
    url: str = ""
    log_from: int = 0


class Fleet:
    """All copies, and what is done with them. Safe to use from several threads.

    Args:
        order: what is served.
        environ: the caller's environment.
        say: takes lines for the log.

    Raises:
        HarnessError: the environment is gone, or a file is no longer what it was.
    """

    def __init__(self, order: Order, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        settings = load_settings(read_sources(Path(order.root), environ), order.options)
        record = find_one(settings.state, order.env)
        if record is None:
            raise BrokenStack(f"Environment {order.env} is gone")
        self._choice = choose(settings)
        stack = self._choice.read(order.files).root
        assert stack.settings.deployer is not None  # of which this is one
        self._stack = stack.name
        self._declared: Mapping[str, Template] = stack.settings.deployer.templates
        self._templates = self._choice.templates_of(stack)
        report = WorkerFolder(Path(record.folder), order.began)
        self._environment = Environment(settings, record, report, stack=stack.name)
        self._run = Run(self._choice, say, new_run=False)
        self._run.environment = self._environment
        self._copies: dict[str, Copy] = {}
        self._places = {
            name: deque(f"copy {number} of {name}" for number in range(template.most + SPARE))
            for name, template in self._declared.items()
        }
        self._lock = threading.Lock()
        self._at_once = threading.BoundedSemaphore(AT_ONCE)

    def do(self, asked: Asked) -> tuple[int, dict[str, object] | str]:
        """Do what is asked for; return the status and JSON, or text.

        Raises:
            Refusal: it cannot be done.
        """
        match asked:
            case Create():
                return 201, self._create(asked)
            case ListAll():
                facts = self._facts()
                return 200, {"instances": [_told(copy, facts.get(copy.stack)) for copy in list(self._copies.values())]}
            case LookAt():
                copy = self._copy(asked.name)
                return 200, _told(copy, self._facts_now(copy))
            case Logs():
                return 200, self._log(self._copy(asked.name), asked.tail)
            case Restart():
                return 200, self._restart(asked.name)
            case Remove():
                self._remove(asked.name)
                return 204, ""

    def _copy(self, name: str) -> Copy:
        with self._lock:
            if name not in self._copies:
                raise Refusal(404, f"there is no instance {name[:60]!r}")
            return self._copies[name]

    def _facts(self) -> dict[str, ServiceFacts]:
        """Return stack -> the facts of its service."""
        return {facts["stack"]: facts for facts in self._environment.link.ask(Services())["services"]}

    def _facts_now(self, copy: Copy) -> ServiceFacts | None:
        """Return the facts of a copy; who was just left without an answer by one that ends is to hear of its end."""
        facts = self._facts().get(copy.stack)
        if facts is None or copy.doing or facts["state"] != "running" or not _is_ending(facts):
            return facts
        for _ in poll(Deadline.after(NEWS)):
            with suppress(HarnessError):  # events tell as well
                self._environment.link.ask(Look(), timeout=NEWS)
            facts = self._facts().get(copy.stack)
            if facts is None or facts["state"] != "running":
                break
        return facts

    # -- create -------------------------------------------------------------------------------------------------

    def _create(self, asked: Create) -> dict[str, object]:
        copy = self._begin(asked)
        try:
            with self._at_once:
                known = self._bring(copy, asked.environment)
        except BaseException:
            self._run.settled.pop(copy.stack, None)
            self._forget(copy)
            raise
        copy.url = _url(known)
        copy.doing = ""
        return _told(copy, self._facts().get(copy.stack))

    def _begin(self, asked: Create) -> Copy:
        """Note a copy that is about to be made. Raises Refusal."""
        template = self._declared.get(asked.template)
        if template is None:
            names = ", ".join(self._declared)
            near = nearest(asked.template, self._declared)
            raise Refusal(404, f"there is no template {asked.template[:60]!r}{near}; there are: {names}")
        if unlisted := sorted(asked.environment.keys() - set(template.environment)):
            listed = ", ".join(template.environment) or "none"
            raise Refusal(
                400, f"environment: {unlisted[0][:60]} is not given to {asked.template!r}; it takes: {listed}"
            )
        stack = f"{asked.template}-{asked.name}"
        there = self._environment.link.ask(Services())["stacks"]
        with self._lock:
            if asked.name in self._copies or stack in there or any(stack == one.stack for one in self._copies.values()):
                raise Refusal(409, f"there is an instance {asked.name!r} already")
            count = sum(copy.template == asked.template for copy in self._copies.values())
            if count >= template.most:
                raise Refusal(429, f"there are {count} instances of {asked.template!r}, the most that there may be")
            copy = Copy(asked.name, asked.template, stack, self._places[asked.template].popleft())
            self._copies[asked.name] = copy
            return copy

    def _forget(self, copy: Copy) -> None:
        with self._lock:
            del self._copies[copy.name]
            self._places[copy.template].append(copy.place)

    def _bring(self, copy: Copy, given: Mapping[str, str]) -> Known:
        """Bring a copy up. Raises Refusal."""
        tree = copy_of(self._templates[copy.template], copy.stack, given, self._stack)
        site = CopySite(self._choice, self._environment, tree, copy.place)
        try:
            known = Bringing(self._run, site, alone=False).bring(self._choice.strangers(tree))
        except (BrokenStack, ConfigError) as error:
            raise Refusal(422, error.summary, self._last_words(tree)) from error
        copy.log_from = self._run.settled[copy.stack].facts[tree.root.services[0].name]["log_start"]
        return next(iter(known.values()))

    def _last_words(self, tree: Tree) -> str:
        """Return the last lines of a copy that did not settle."""
        settling = self._run.settled.get(tree.root.name)
        facts = settling.facts.get(tree.root.services[0].name) if settling else None
        return "\n".join(last_lines(Path(facts["log"]), LINES, facts["log_start"])) if facts else ""

    # -- what is there ------------------------------------------------------------------------------------------

    @contextmanager
    def _doing(self, name: str, what: str) -> Iterator[Copy]:
        """Have a copy for a while alone. Raises Refusal."""
        copy = self._copy(name)
        with self._lock:
            if copy.doing:
                raise Refusal(409, f"instance {name!r} is {copy.doing}")
            copy.doing = what
        try:
            yield copy
        finally:
            copy.doing = ""

    def _log(self, copy: Copy, tail: int) -> str:
        facts = self._facts().get(copy.stack)
        if facts is None:
            return ""
        lines = printable(read_log(Path(facts["log"]), copy.log_from)).splitlines()
        return "".join(f"{line}\n" for line in lines[-tail:])

    def _restart(self, name: str) -> dict[str, object]:
        with self._doing(name, "restarting") as copy:
            planned = replace(self._run.settled[copy.stack].planned, launch=None)
            service = planned.stack.services[0].name
            settling = Settling(planned, self._run.say_once)
            try:
                settling.restart(service, planned.plans[service].grace)
            except HarnessError as error:
                facts = self._facts().get(copy.stack)
                log = "\n".join(last_lines(Path(facts["log"]), LINES, facts["log_start"])) if facts else ""
                raise Refusal(422, error.summary, log) from error
            copy.url = _url(settling.services()[service])
        return _told(copy, self._facts().get(copy.stack))

    def _remove(self, name: str) -> None:
        with self._doing(name, "removing") as copy:
            left = self._run.release(copy.stack)
            if left:
                raise Refusal(500, f"instance {name!r} was not removed: {'; '.join(left)}")
            self._run.settled.pop(copy.stack, None)
            self._forget(copy)


def _is_ending(facts: ServiceFacts) -> bool:
    """Return whether the process of a service is gone or about to be, whatever was told of it."""
    pid = facts["pid"]
    start = procs.start_time_of(pid) if pid else None
    if not pid or start is None:
        return bool(pid)  # one without a number here cannot be seen, one that had it is gone
    if facts["container"] and not procs.is_in_container(pid, facts["container"]):
        return False
    return procs.is_ending(pid, facts["start_time"] or start)


def _url(known: Known) -> str:
    end = next(end for end in known.endpoints if end.protocol == "tcp")
    return f"http://{end}"


def _told(copy: Copy, facts: ServiceFacts | None) -> dict[str, object]:
    state = copy.doing or (facts["state"] if facts else "exited")
    code = facts["exit_code"] if facts else None
    return {
        "name": copy.name,
        "template": copy.template,
        "url": copy.url,
        "state": state,
        "exit_code": None if copy.doing else code,
    }
