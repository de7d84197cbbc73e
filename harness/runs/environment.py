"""An environment as a run sees it: the connection to its keeper, its folder, and whether all is well with it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts, procs
from harness.daemon import connect
from harness.engine.attach import plan as attach
from harness.engine.choice import DRIVERS, driver_of
from harness.errors import BrokenStack, HarnessError
from harness.keeper.client import NETWORK_BUDGET, KeeperLink
from harness.keeper.messages import Blame, Explain, Goodbye, JoinNetwork, Keep, TakeNetwork
from harness.keeper.networks import Network
from harness.ownership.removal import LOG
from harness.ownership.sweep import sweep
from harness.readiness import Stop, ask_once
from harness.residue.stores import Stores
from harness.runs.deaths import died
from harness.runs.lives import Lives, Uses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager

    from harness.config import Settings
    from harness.docker_sdk import APIClient
    from harness.engine.driver import Driver
    from harness.engine.known import Known
    from harness.engine.plan import ServicePlan
    from harness.images.fingerprint import Found
    from harness.keeper.client import EnvironmentId, KeeperToBe
    from harness.keeper.messages import Event, Explained, ServiceFacts
    from harness.ownership.ledger import LedgerRecord
    from harness.readiness import Asker
    from harness.relay import Relay
    from harness.reporting import RunFolder
    from harness.runs.debugging import Debugger
    from harness.runs.resetting import Resetting
    from harness.runs.share import Share

KEEPER_BUDGET = 10.0
EXPLAIN_BUDGET = 5.0


class Environment:
    """What a run holds on to; ``close`` gives everything back and verifies it. See ``opening`` for how one is had.

    Args:
        settings: of the run.
        where: it is.
        report: the run's folder.
        share: what the run has in common with others that work for the same process, None when it is alone.
        keeper: who has its network, until that is handed over; None when it was.
        stack: the one whose service this process is, "" when it is none.
    """

    def __init__(
        self,
        settings: Settings,
        where: EnvironmentId | LedgerRecord,
        report: RunFolder,
        share: Share | None = None,
        keeper: KeeperToBe | None = None,
        stack: str = "",
    ) -> None:
        self.settings = settings
        self.engine = where.engine
        self.daemon = where.daemon
        self.env = where.env
        self.folder = Path(where.folder)
        self.report = report
        self.news = Stop()
        self.uses = Uses()
        self.lives = Lives(report, self.news, self.uses)
        self.brought: Counter[str] = Counter()
        self.fingerprints: dict[str, str] = {}  # stack -> what tells it from the same one of another time
        self.paused: set[str] = set()  # what this run has paused, as stack/service
        self.debugger: Debugger | None = None
        # STACK/SERVICE -> its probes, made anew, as far as they tell more than that it has started.
        self.askers: dict[str, Callable[[], list[Asker]]] = {}
        # The container in which something runs beside the services, once it waits for that.
        self.inside: Future[Known] = Future()
        # What passes on connections to services, where their engine is on another machine.
        self.relay: Relay | None = None
        self.images: dict[str, Found] = {}  # name -> what this run has built or found built
        self.stores = Stores()  # which are asked for what tests leave in them
        self.resetting: Callable[[], AbstractContextManager[None]] = nullcontext  # within which a service is reset
        self.resets: dict[str, Resetting] = {}  # stack -> what brings back the seeded state of its services
        self._diverted: dict[str, Callable[[Event | None], None]] = {}  # stack -> who hears of it instead of ``lives``
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._keeper_lost = False
        self._closed = False
        self._keeper = keeper
        self._handing = threading.Lock()
        self.is_worker = bool(share and share.pid != os.getpid())
        procs.end_with_parent(os.environ)
        sponsor = (share.pid, share.start) if share else None
        self.link = KeeperLink(
            where.socket, lease=True, sponsor=sponsor, stack=stack, on_event=self._hear, on_lost=self._on_lost
        )
        self.lives.engine_lost = self.lives.engine_lost or bool(self.link.facts["engine_lost"])

    def _on_lost(self) -> None:
        self._keeper_lost = True
        self.news.notify()
        for hear in list(self._diverted.values()):
            hear(None)

    def _hear(self, message: Event) -> None:
        if message["event"] == "engine-lost":
            for hear in list(self._diverted.values()):
                hear(message)
        (self._diverted.get(message.get("stack", "")) or self.lives.hear)(message)

    def divert(self, stack: str, hear: Callable[[Event | None], None] | None) -> None:
        """Have one hear of a stack's services in place of ``lives``, until None does; told None, the keeper is gone."""
        if hear:
            self._diverted[stack] = hear
        else:
            self._diverted.pop(stack, None)

    def driver_of(self, service: ServicePlan | Known) -> Driver:
        """Return the driver of a service in it."""
        return driver_of(service, DRIVERS[self.engine](self.settings, self.daemon))

    def execute(self, known: Known, argv: Sequence[str], timeout: float) -> procs.Finished:
        """Run a command in a service, with paths as it knows them on its engine. Raises HarnessError."""
        return self.driver_of(known).execute(known, argv, timeout, self)

    def reset(self, known: Known) -> None:
        """Bring back the seeded state of a service. Raises HarnessError as ``Resetting.reset`` does."""
        known.refuse_attached("to reset it")
        using = [resetting for name, resetting in self.resets.items() if self.brought[name] and name != known.stack]
        above = [resetting for resetting in using if resetting.stands_on(known.stack)]
        with self.resetting():
            self.resets[known.stack].reset(known.service, above)

    @property
    def client(self) -> APIClient:
        """A client of the Docker engine. Raises EngineUnreachableError."""
        with self._lock:
            if self._client is None:
                assert self.daemon is not None  # asked for where there are containers only
                self._client = connect(self.daemon)
            return self._client

    def network(self, stack: str, services: Sequence[str]) -> Network:
        """Return the network that a stack's containers join, made if need be. Raises HarnessError."""
        self._hand_over()
        return Network(**self.link.ask(JoinNetwork(stack=stack, services=list(services))))

    def _hand_over(self, within: float = NETWORK_BUDGET) -> None:
        """Give the keeper the network that was made while it was loading. Raises HarnessError."""
        with self._handing:
            if self._keeper:
                self.link.ask(TakeNetwork(made=self._keeper.network(within)))
                self._keeper = None

    def blame(self, facts: ServiceFacts) -> None:
        """Have everybody who finds a dead service later on told what ran when it ended."""
        with suppress(HarnessError):
            self.link.ask(Blame(stack=facts["stack"], service=facts["service"], under=facts["under"]))

    def deaths(self, stacks: Collection[str]) -> list[ServiceFacts]:
        """Return the facts of ends that nobody asked for, of these stacks, as long as they are in use; oldest first."""
        return [facts for facts in self.lives.deaths() if facts["stack"] in stacks and facts["stack"] in self.brought]

    def ask_once(self, services: Iterable[str], within: float) -> dict[str, str]:
        """Ask each probe of services that are up once, all at the same time.

        Args:
            services: their names, as ``STACK/SERVICE``; of those that are not up nothing is asked.
            within: seconds after which a probe that has not answered counts as one that does not.

        Returns:
            ``STACK/SERVICE`` -> "" when each of its probes holds, else which did not and what it answered.
        """
        return ask_once({name: self.askers[name]() for name in services if name in self.askers}, within)

    @property
    def closed(self) -> bool:
        """Whether everything was given back, so that nobody can be asked any more."""
        return self._closed

    # -- what is wrong with it ----------------------------------------------------------------------------------

    def check(self, stacks: Collection[str] | None = None) -> None:
        """Do nothing while all is well. Called on every turn of every wait.

        Args:
            stacks: the stacks that matter; default: those of the test that runs, else all that were brought up.

        Raises:
            BrokenStack: a service of these ended unasked, or the keeper or the engine is gone.
        """
        use = self.uses.now
        if self._closed or (stacks is None and use and not use.stacks):
            return
        self.check_kept()
        for facts in self.deaths(stacks if stacks is not None else use.stacks if use else self.brought):
            raise died(self, facts)

    def check_kept(self) -> None:
        """Do nothing while there is somebody who keeps it, and an engine; services of it may have ended.

        Raises:
            BrokenStack: the keeper or the engine is gone.
        """
        if self._keeper_lost:
            raise BrokenStack(
                f"The keeper of environment {self.env} is gone", details=artifacts.last_lines(self.folder / LOG, 5)
            )
        if self.lives.engine_lost:
            where = self.daemon.host if self.daemon else "?"
            raise BrokenStack(f"The Docker engine at {where} is gone, and with it the stacks of {self.env}")

    @property
    def is_lost(self) -> bool:
        """Whether the keeper or the engine is gone."""
        return self._keeper_lost or self.link.lost or self.lives.engine_lost

    def give_up(self) -> None:
        """Have whatever is being brought up end now: a signal came, and nothing more is to be started."""
        self.news.stop()
        self.link.give_up()

    def check_wanted(self) -> None:
        """Do nothing until it was given up; then raise BrokenStack."""
        if self.news.stopped:
            raise BrokenStack("This run was given up")

    def explain(self, stack: str, service: str, *, ask: bool = True) -> Explained:
        """Return what the engine knows of a container, {} of a process or when it is not asked or does not say."""
        if self.daemon is None:
            return {}
        with suppress(HarnessError):
            return self.link.ask(Explain(stack=stack, service=service, ask=ask), timeout=EXPLAIN_BUDGET)
        return {}

    def show(self, log: Path) -> str:
        """Return a log's path for people: by way of logs/latest when that is this run, relative to here if below."""
        latest = self.settings.logs / "latest"
        for folder in (self.report.path, self.folder):
            with suppress(ValueError, OSError):
                inner = log.relative_to(folder)
                shown = latest if latest.resolve() == folder.resolve() else folder
                path = shown / inner
                with suppress(ValueError):
                    path = path.relative_to(Path.cwd())
                return str(path)
        return str(log)

    # -- the end ------------------------------------------------------------------------------------------------

    def keep(self, ttl: float, stacks: Sequence[str] | None = None) -> None:
        """Let stacks (default: all of this run) stay after it, until ``down`` or ``ttl`` seconds without use."""
        if self.engine == attach.NAME:
            return  # nothing of it is ours
        self.link.ask(Keep(ttl=ttl, stacks=None if stacks is None else list(stacks)))

    def close(self, *, hurried: bool = False) -> list[str]:
        """Give back what this run holds. Return what should be gone and is not, in words.

        With ``hurried`` services get no more grace than what a signal leaves them.
        """
        if self._closed:
            return []
        self._closed = True
        self.stores.close()
        if self.relay is not None:
            self.relay.close()
        if self._client is not None:
            self._client.close()
        if self._keeper:  # what is still being made must be there, to be removed
            self._keeper.give_up()
            with suppress(HarnessError):
                self._hand_over(KEEPER_BUDGET)
        try:
            answer = self.link.ask_to_remove(Goodbye(hurried=hurried))
        except HarnessError as error:
            return self._finish() if self.link.lost else [error.summary]
        finally:
            self.link.close()
        left: list[str] = list(answer["left"])
        if answer["ended"] and not self.link.wait_until_keeper_ended(KEEPER_BUDGET):
            left.append(f"the keeper of {self.env}")
        return left

    def _finish(self) -> list[str]:
        """Do what a keeper that was killed has not done; return what could not be removed."""
        if self.is_worker:
            return []  # its controller sees to that
        return finish(self.settings, self.env, self.link.facts["pid"], self.link.facts["start"])


def finish(settings: Settings, env: str, pid: int, start: int) -> list[str]:
    """Remove what a keeper that was killed has not: who calls this held it, or was to take it down.

    Args:
        settings: where the state is.
        env: its environment.
        pid: its process.
        start: when that started.

    Returns:
        What could not be removed, in words.
    """
    if not procs.wait_gone(pid, start, KEEPER_BUDGET):  # until then it has its locks
        return [f"the keeper of {env}"]
    return sweep(settings.state, own=env).left_of(env)
