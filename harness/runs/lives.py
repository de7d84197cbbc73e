"""When the services of an environment started and ended, as it is told, and which test used them then."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.keeper.messages import Event, ServiceFacts
    from harness.readiness import Stop
    from harness.reporting import RunFolder


@dataclass(frozen=True)
class Use:
    """A test, and what it relies on.

    Attributes:
        node: its node id.
        test: its name, for people.
        stacks: the stacks that it uses, with those that they include.
    """

    node: str
    test: str
    stacks: frozenset[str]


class Uses:
    """Which test uses the stacks of an environment, and which did last."""

    def __init__(self) -> None:
        self.now: Use | None = None
        self._last_test: dict[str, str] = {}  # stack -> the last test that used it

    def begin(self, use: Use) -> None:
        """From now on it is this test that relies on its stacks, and only these matter to its waits."""
        self._last_test |= dict.fromkeys(use.stacks, use.test)
        self.now = use

    def end(self) -> None:
        """No test runs: every stack that was brought up matters again."""
        self.now = None

    def under(self, stack: str) -> str:
        """Return what went on with a stack when a service of it ended, in words."""
        if self.now and stack in self.now.stacks:
            return f"under {self.now.test}"
        last = self._last_test.get(stack)
        return f"after {last}" if last else "under a test"


def failed_hook(facts: ServiceFacts) -> str:
    """Say that what a file has run before a service's end failed."""
    return f"warning: service {facts['service']!r}: before its end {facts['pre_stop']} (its pre_stop)"


class Lives:
    """The starts and ends of an environment's services.

    Args:
        report: the run's folder, in which they are noted.
        news: notified of each.
        uses: which test uses its stacks.

    Attributes:
        changes: how often a service has started or ended, as far as it was told.
        taken: log -> its size when this run took a stack that was up already.
        failed_hooks: a line for each hook before a service's end that failed; whoever tells of it takes it away.
        engine_lost: whether the Docker engine is gone.
    """

    def __init__(self, report: RunFolder, news: Stop, uses: Uses) -> None:
        self.uses = uses
        self.changes = 0
        self.taken: dict[Path, int] = {}
        self.failed_hooks: list[str] = []
        self.engine_lost = False
        self._report = report
        self._news = news
        self._oneshots: set[str] = set()
        self._exits: dict[str, ServiceFacts] = {}
        self._started: dict[str, ServiceFacts] = {}
        self._health: dict[str, str] = {}
        self._excuses: dict[str, Callable[[ServiceFacts], bool]] = {}
        self._lock = threading.Lock()

    def hear(self, message: Event) -> None:
        """Take over an event of the engine or of a service, which the keeper tells, or an engine itself."""
        kind = message["event"]
        if kind in ("engine-lost", "engine-back"):
            self.engine_lost = kind == "engine-lost"
        else:
            key = f"{message['stack']}/{message['service']}"
            if kind == "exit" and not message["expected"]:
                message |= {"under": message.get("under") or self.uses.under(message["stack"])}
            with self._lock:
                self._health[key] = message.get("health", "")
                self.changes += 1
                if kind == "started":
                    self._started[key] = message
                    self._exits.pop(key, None)
                elif kind == "exit":
                    self._exits[key] = message
            facts: dict[str, object] = {"service": message["service"], "stack": message["stack"]}
            if kind == "exit":
                facts |= {"code": message["exit_code"], "asked": message["expected"], "under": message.get("under", "")}
            elif kind == "health":
                facts["health"] = message["health"]
            elif kind == "hook-failed":
                facts["reason"] = message["pre_stop"]
                self.failed_hooks.append(failed_hook(message))
            if message.get("record", True):
                with suppress(OSError):
                    self._report.event(kind, **facts)
        self._news.notify()

    def exit_of(self, stack: str, service: str) -> ServiceFacts | None:
        """Return the facts of a service's end, None while it runs."""
        with self._lock:
            return self._exits.get(f"{stack}/{service}")

    def started(self, stack: str, service: str) -> ServiceFacts | None:
        """Return the facts of a service's start, None before it."""
        with self._lock:
            return self._started.get(f"{stack}/{service}")

    def health(self, stack: str, service: str) -> str:
        """Return the health of a container as the engine told it last: "", starting, healthy or unhealthy."""
        with self._lock:
            return self._health.get(f"{stack}/{service}", "")

    def forget(self, stack: str, service: str) -> None:
        """A service is about to be started: what an earlier life of it left does not count."""
        with self._lock:
            for table in (self._exits, self._started, self._health):
                table.pop(f"{stack}/{service}", None)
            self.changes += 1

    def expect_end(self, stack: str, service: str) -> None:
        """Count a service as a one-shot: its end with exit code 0 is no fault."""
        self._oneshots.add(f"{stack}/{service}")

    def oneshots_of(self, stack: str) -> list[str]:
        """Return the services of a stack that were told to ``expect_end``."""
        return sorted(name.rpartition("/")[2] for name in self._oneshots if name.rpartition("/")[0] == stack)

    def deaths(self) -> list[ServiceFacts]:
        """Return the facts of ends that nobody asked for, oldest first; a one-shot's with exit code 0 is none."""
        with self._lock:
            exits = list(self._exits.values())
        return [
            facts for facts in exits if not (facts["expected"] or self.may_have_ended(facts) or self.is_excused(facts))
        ]

    def excuse(self, stack: str, which: Callable[[ServiceFacts], bool] | None) -> None:
        """Count those ends of a stack's services as no deaths for which ``which`` holds; with None: all are."""
        with self._lock:
            if which:
                self._excuses[stack] = which
            else:
                self._excuses.pop(stack, None)

    def is_excused(self, facts: ServiceFacts) -> bool:
        """Return whether somebody sees to it that a service that has ended is started again."""
        which = self._excuses.get(facts["stack"])
        return which is not None and which(facts)

    def may_have_ended(self, facts: ServiceFacts) -> bool:
        """Return whether a service is a one-shot that ended well."""
        return f"{facts['stack']}/{facts['service']}" in self._oneshots and facts["exit_code"] == 0

    def learn(self, facts: ServiceFacts) -> None:
        """Take over what the keeper knows of a service that was started before this run came."""
        key, log = f"{facts['stack']}/{facts['service']}", Path(facts["log"])
        self.taken.setdefault(log, artifacts.file_size(log))
        with self._lock:
            self._started.setdefault(key, facts)
            self._health.setdefault(key, facts["health"])
