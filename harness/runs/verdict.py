"""Whether a stack broke under a test: a service of it died or hangs, or its engine or keeper is gone.

What a test itself noticed is no proof: a process that died may not be collected yet, and an engine tells of a
container's end some 50 ms after it. So whoever judges a test looks and asks first, for a bounded time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.clock import Deadline, now, poll
from harness.errors import BrokenStack, EngineUnreachableError, HarnessError
from harness.keeper.messages import Look, Services
from harness.readiness import ask_once
from harness.runs.deaths import last_words
from harness.runs.evidence import Noise, request_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from harness.keeper.messages import ServiceFacts
    from harness.readiness import Asker
    from harness.runs.environment import Environment
    from harness.runs.lives import Use
    from harness.runs.run import Run

DOUBT = 0.5  # seconds in which a service whose connection was lost may turn out to be dead
TOLD = 5.0  # seconds in which the end of a process that is known to end is told
LOOK_BUDGET = 2.0
ANSWER_BUDGET = 6.0  # seconds that all checks of one verdict have together; each has a time-out of its own
CPU_FROM = 0.2  # seconds; over less, a share of processor time says nothing
STOPPED = "T"
WORST_FIRST = "TtDRS"  # of the states of several processes, the one that tells most
# What clients say when the other side is gone, in the words of the system and of common libraries.
_LOST = re.compile(
    r"refused|reset by peer|broken pipe|disconnect|connection (was )?(closed|aborted|lost)|closed the connection"
    r"|without response|unexpected(ly)? (eof|end)|EOFError|IncompleteRead|unreachable|transport failure",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Process:
    """The first process of a service, as this machine numbers it."""

    pid: int
    start: int


_REFUSED = re.compile(r"[Rr]efused")
_LOCALHOST = re.compile(r"""(?:localhost|127\.0\.0\.1)['"]?(?::|, port=|, )(\d{1,5})\b""")


class Judge:
    """Looks after the stacks of one run on behalf of its tests."""

    def __init__(self, run: Run, environment: Environment) -> None:
        self._run = run
        self._environment = environment
        self._processes: dict[str, Process] = {}
        self._listed: tuple[int, frozenset[str]] = (-1, frozenset())
        self._hung: dict[str, BrokenStack] = {}
        self._told: set[str] = set()

    def standing(self, stacks: Collection[str]) -> HarnessError | None:
        """Return why a test that needs ``stacks`` is not run: what an earlier one has found broken, and still is."""
        try:
            self._environment.check(stacks)
        except HarnessError as error:
            return _consequence(error)
        for key, hung in list(self._hung.items()):
            if key.partition("/")[0] in stacks:
                if self._ask([key])[key] or self._is_stopped(key):
                    return _consequence(hung)
                del self._hung[key]
        return None

    def verdict(self, use: Use, *, failed: bool, text: str = "") -> tuple[HarnessError | None, list[str]]:
        """Return what broke under a test, None if nothing did, and what else is to be known of its services.

        Args:
            use: the test and its stacks.
            failed: whether it failed; then the keeper and the engine are asked, and its services whether they answer.
            text: its report.
        """
        if not use.stacks:
            return None, []
        try:
            self._find_death(use, failed=failed, text=text)
            remarks = [*self._strayed(use, text), *self._find_hung(use)] if failed else []
        except (BrokenStack, EngineUnreachableError) as error:
            self._tell(use, error)
            return error, []
        return None, remarks

    def _strayed(self, use: Use, text: str) -> list[str]:
        """Say where a service is whose published port a test has looked for on ``localhost`` in vain."""
        if not _REFUSED.search(text):
            return []
        sought = {int(number) for number in _LOCALHOST.findall(text)}
        return [
            f"localhost:{end.left} is not this environment's: service {name!r} is at {end}, "
            f"which tests get by `stack.endpoint({name!r}, {end.left})`"
            for stack in sorted(use.stacks)
            if stack in self._run.settled
            for name, plan in self._run.settled[stack].plans.items()
            for end in plan.endpoints
            if end.left in sought and end.host not in ("127.0.0.1", "localhost")
        ]

    def _tell(self, use: Use, error: HarnessError) -> None:
        """Write down the first cause, once, and have it known to whoever comes later."""
        for facts in self._environment.deaths(use.stacks):
            self._environment.blame(facts)
        if error.summary not in self._told:
            self._told.add(error.summary)
            service = getattr(error, "service", "")
            self._environment.report.event("fault", test=use.node, service=service, summary=error.summary)

    def noise(self, use: Use) -> Noise:
        """Return what of the logs does not belong in the report of a test."""
        try:
            answer = self._environment.link.ask(Services(), timeout=LOOK_BUDGET)
        except HarnessError:  # then the logs are shown as they are
            return Noise()
        listed, stacks = answer["services"], answer["stacks"]
        # What the deployer of a stack has made is a part of that.
        makers = {name: (facts["record"] or {}).get("maker", name) for name, facts in stacks.items()}
        others = {Path(one["log"]) for one in listed if makers.get(one["stack"], one["stack"]) not in use.stacks}
        paths = {Path(facts["log"]): self._probed_paths(facts["stack"], facts["service"]) for facts in listed}
        return Noise(others, {log: request_for(asked) for log, asked in paths.items() if asked})

    def _probed_paths(self, stack: str, service: str) -> list[str]:
        settling = self._run.settled.get(stack)
        declared = settling.stack.service(service) if settling else None
        return [probe.http.path for probe in declared.settings.ready if probe.http] if declared else []

    # -- dead ---------------------------------------------------------------------------------------------------

    def _find_death(self, use: Use, *, failed: bool, text: str) -> None:
        """Do nothing when all services live. Raises BrokenStack, EngineUnreachableError."""
        environment = self._environment
        environment.check(use.stacks)
        ending = self._ending(use.stacks)
        if not failed and not ending:
            return
        self._look()
        environment.check(use.stacks)
        if ending or _LOST.search(text):
            self._await_news(use.stacks)

    def _look(self) -> None:
        """Have the keeper collect what has ended, and ask the engine. Raises EngineUnreachableError."""
        try:
            self._environment.link.ask(Look(), timeout=LOOK_BUDGET)
        except EngineUnreachableError:
            raise
        except HarnessError:  # an older keeper, or one that is slow: events tell as well
            return

    def _await_news(self, stacks: Collection[str]) -> None:
        """Wait until a death is told: for a moment where it is only supposed, longer where it can be seen.

        Raises:
            BrokenStack: a service has died.
        """
        environment, wake = self._environment, self._environment.news.subscribe()
        for _ in poll(Deadline.after(DOUBT), wake=wake):
            environment.check(stacks)
            if self._ending(stacks):
                break
        for _ in poll(Deadline.after(TOLD), wake=wake):
            environment.check(stacks)
            ending = self._ending(stacks)
            if not ending:
                return
        stack, _, service = ending[0].partition("/")
        raise BrokenStack(f"Service {service!r} of stack {stack!r} ended; nobody has told how", service=service)

    def _ending(self, stacks: Collection[str]) -> list[str]:
        """Return the services whose process is gone or about to be, whatever was told of it."""
        processes = self._first_processes(stacks)
        return [key for key, process in processes.items() if procs.is_ending(process.pid, process.start)]

    def _first_processes(self, stacks: Collection[str]) -> dict[str, Process]:
        """Return the processes of services that run; asked for anew when something has started or ended."""
        wanted = (self._environment.lives.changes, frozenset(stacks))
        if self._listed != wanted:
            self._processes = {
                key: process
                for key, facts in self._facts(stacks).items()
                if facts["state"] != "exited" and (process := _process_of(facts))
            }
            self._listed = wanted
        return self._processes

    def _facts(self, stacks: Collection[str]) -> dict[str, ServiceFacts]:
        listed = self._environment.link.ask(Services(), timeout=LOOK_BUDGET)["services"]
        return {f"{facts['stack']}/{facts['service']}": facts for facts in listed if facts["stack"] in stacks}

    # -- hung ---------------------------------------------------------------------------------------------------

    def _find_hung(self, use: Use) -> list[str]:
        """Ask each service once whether it answers; return what is to be known.

        Raises:
            BrokenStack: one does not, and the test did not ask for that.
        """
        facts = self._facts(use.stacks)
        asked_for = [*self._asked_for(facts)]
        if asked_for:  # others may wait for what the test has taken away
            return asked_for
        began, before = (
            now(),
            {key: procs.activity_of(service["pid"]) for key, service in facts.items() if _process_of(service)},
        )
        silent = [(key, said) for key, said in self._ask(self._keys(use.stacks)).items() if said]
        spent = now() - began
        if silent:
            self._look()
            self._await_news(use.stacks)
        stopped = [key for key in before if self._is_stopped(key) or facts[key]["state"] == "paused"]
        for key, said in [*silent, *((key, "") for key in stopped)]:
            doing = _doing(facts[key], before[key], spent) if key in before else ""
            error = self._no_answer(use, key, facts.get(key), [part for part in (doing, said) if part])
            self._hung[key] = error
            raise error
        return []

    def _asked_for(self, facts: dict[str, ServiceFacts]) -> Iterator[str]:
        for key, service in facts.items():
            name = service["service"]
            if service["state"] == "paused" and key in self._environment.paused:
                yield f"service {name!r} was paused by service.pause(), so it is not asked whether it answers"
            elif service["state"] == "exited" and service["expected"]:
                yield f"service {name!r} was ended on purpose, so nothing is asked whether it answers"

    def _keys(self, stacks: Collection[str]) -> list[str]:
        return [f"{stack}/{name}" for stack in stacks for name in self._settled(stack)]

    def _settled(self, stack: str) -> Collection[str]:
        settling = self._run.settled.get(stack) if stack in self._environment.brought else None  # given back: no more
        return [name for name in settling.plans if not self._is_done(stack, name)] if settling else ()

    def _is_done(self, stack: str, service: str) -> bool:
        """Return whether a service is a one-shot, or has ended as it may."""
        lives, oneshots = self._environment.lives, self._run.settled[stack].planned.oneshots
        facts = lives.exit_of(stack, service)
        return service in oneshots or (facts is not None and lives.may_have_ended(facts))

    def _ask(self, keys: list[str]) -> dict[str, str]:
        """Ask each service once whether it answers; return service -> "" or which probe was not answered."""
        return ask_once({key: self._checks_of(key) for key in keys}, ANSWER_BUDGET)

    def _checks_of(self, key: str) -> list[Asker]:
        stack, _, service = key.partition("/")
        settling = self._run.settled.get(stack)
        return settling.probing.checks_of(service) if settling and service in settling.plans else []

    def _is_stopped(self, key: str) -> bool:
        """Return whether a process of a service stands still by a signal."""
        process = self._processes.get(key)
        return process is not None and STOPPED in procs.activity_of(process.pid).states.values()

    def _no_answer(self, use: Use, key: str, facts: ServiceFacts | None, signs: list[str]) -> BrokenStack:
        service = key.partition("/")[2]
        environment = self._environment
        where, lines = "attached", []
        if facts:
            where, lines = environment.show(Path(facts["log"])), last_words(facts)
        summary = f"Service {service!r} no longer answers under {use.test}: {', '.join(signs)} ({where})"
        return BrokenStack(summary, service=service, details=lines)


def _process_of(facts: ServiceFacts) -> Process | None:
    """Return the process of a service that runs; None where it cannot be seen from here, such as from a container."""
    pid = int(facts["pid"])
    if not pid or (facts["container"] and not procs.is_in_container(pid, facts["container"])):
        return None
    start = facts["start_time"] or procs.start_time_of(pid)
    return Process(pid, start) if start else None


def _doing(facts: ServiceFacts, before: procs.Activity, seconds: float) -> str:
    """Return in words what the processes of a service do, and what processor time they take."""
    activity = procs.activity_of(facts["pid"])
    state = next((state for state in WORST_FIRST if state in activity.states.values()), "S")
    if facts["state"] == "paused":
        return "paused"
    words = f"{procs.STATES[state]} ({state})"
    if seconds < CPU_FROM:
        return words
    return f"{words}, CPU {max(0.0, activity.spent - before.spent) / seconds:.0%}"


def _consequence(error: HarnessError) -> HarnessError:
    """Return the error of a test that is not run because of what was found under an earlier one."""
    summary = f"Not run: {error.summary[0].lower()}{error.summary[1:]}"
    if isinstance(error, BrokenStack):
        return BrokenStack(summary, service=error.service, exit_code_seen=error.exit_code_seen)
    return type(error)(summary)
