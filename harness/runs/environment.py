"""An environment as a run sees it: the connection to its keeper, its folder, and the news of its services."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, procs
from harness.daemon import connect
from harness.engine.attach import plan as attach
from harness.engine.choice import DRIVERS, driver_of
from harness.errors import BrokenStack, HarnessError, LeftoverError
from harness.interrupts import Interrupted
from harness.keeper.client import NETWORK_BUDGET, EnvironmentId, KeeperLink, KeeperToBe, start_keeper
from harness.keeper.living import find_one, is_alive
from harness.keeper.networks import Network
from harness.last_words import LOOKED_AT
from harness.ownership.locks import locked
from harness.ownership.removal import LOG
from harness.ownership.sweep import sweep
from harness.readiness import Stop, ask_once
from harness.readiness.reasons import NO_VARIABLES, how_ended, why_ended
from harness.reporting import RunFolder, WorkerFolder
from harness.runs.known import all_kept, checkout_lock, checkout_of
from harness.runs.pruning import prune_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from docker import APIClient

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.engine.driver import Driver
    from harness.engine.known import Known
    from harness.engine.plan import ServicePlan
    from harness.ownership.ledger import LedgerRecord
    from harness.readiness import Asker
    from harness.readiness.reasons import Variables
    from harness.runs.debugging import Debugger

KEEPER_BUDGET = 10.0
OPEN_BUDGET = 60.0
EXPLAIN_BUDGET = 5.0
ONE_SHOT = "a service that is done when it has ended with 0 says so: x-harness: {role: oneshot}"
KILLED = 137  # how a container's exit code tells SIGKILL
LINES_SHOWN = 20
_NO_WORDS = frozenset([0, KILLED, -signal.SIGKILL])  # ends that no program has a last word about


@dataclass(frozen=True)
class Share:
    """What a pytest with workers decides for all of them before any needs a stack; nothing of it exists yet.

    Attributes:
        run: id of the run, and of the environment should one be opened for it.
        pid: the controller, for which the environment is held.
        start: its start time.
        began: monotonic time at which the run began.
    """

    run: str
    pid: int
    start: int
    began: float

    def folder(self, settings: Settings) -> Path:
        """Return the folder of the run."""
        return settings.logs / self.run

    def record(self, settings: Settings) -> LedgerRecord | None:
        """Return the ledger of the environment that was opened for the run, None before that and after its end."""
        try:
            facts = json.loads((self.folder(settings) / "run.json").read_text(encoding="utf-8"))
            return find_one(settings.state, facts["environment"])
        except (OSError, ValueError, KeyError):
            return None


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


class Environment:
    """What a run holds on to. Made by ``create`` or ``attach``; ``close`` gives everything back and verifies it."""

    def __init__(  # noqa: PLR0913, PLR0917 - made by the two class methods below
        self,
        settings: Settings,
        engine: str,
        daemon: Daemon | None,
        env: str,
        folder: Path,
        socket: str,
        report: RunFolder,
        share: Share | None = None,
        keeper: KeeperToBe | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.daemon = daemon
        self.env = env
        self.folder = folder
        self.report = report
        self.news = Stop()
        self.brought: Counter[str] = Counter()
        self.changes = 0  # how often a service has started or ended, as far as it was told
        self.paused: set[str] = set()  # what this run has paused, as stack/service
        self.taken: dict[Path, int] = {}  # log -> its size when this run took a stack that was up already
        self._use: Use | None = None
        self._last_test: dict[str, str] = {}  # stack -> the last test that used it
        self.debugger: Debugger | None = None
        # STACK/SERVICE -> its probes, made anew, as far as they tell more than that it has started.
        self.askers: dict[str, Callable[[], list[Asker]]] = {}
        self._oneshots: set[str] = set()
        self._exits: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._health: dict[str, Any] = {}
        self._started: dict[str, Any] = {}
        self._engine_lost = False
        self._client: APIClient | None = None
        self._keeper_lost = False
        self._closed = False
        self._keeper = keeper  # until its network is handed over
        self._handing = threading.Lock()
        self._is_worker = bool(share and share.pid != os.getpid())
        procs.end_with_parent(os.environ)
        sponsor = (share.pid, share.start) if share else None
        self.link = KeeperLink(socket, lease=True, sponsor=sponsor, on_event=self.hear, on_lost=self._on_lost)
        self._engine_lost = self._engine_lost or bool(self.link.facts["engine_lost"])

    @classmethod
    def create(cls, settings: Settings, engine: Driver, why: str, keeper: KeeperToBe | None = None) -> Environment:
        """Open a new environment, whose folder is the run's folder.

        Args:
            settings: of the run.
            engine: what it is on.
            why: that one.
            keeper: who shall keep it, made for ``new_environment``; default: another one.

        Raises:
            ConfigError: the state or run folder cannot be used.
            BrokenStack: the keeper did not start.
        """
        wanted = keeper.wanted if keeper else new_environment(settings, engine)
        run = wanted.env
        artifacts.private_folder(settings.state)
        folder = _make_run_folder(settings, run)
        keeper = keeper or KeeperToBe(wanted)
        report = None
        try:
            keeper.begin(network=True)
            with artifacts.full_disk_told(folder):
                report = RunFolder(folder, _facts(settings, run, run, engine.name, why))
            keeper.wait()
            return cls(settings, engine.name, engine.daemon, run, folder, wanted.socket, report, keeper=keeper)
        except BaseException as error:  # such as Ctrl-C: it would wait some seconds for somebody to come
            if report:
                note_failure(report, error)
            keeper.dismiss()
            _dismiss(settings, wanted)
            keeper.clear()
            raise

    @classmethod
    def attach(cls, settings: Settings, record: LedgerRecord, why: str, *, new_run: bool) -> Environment:
        """Connect to a kept environment; with ``new_run`` this run gets a folder of its own."""
        folder = Path(record.folder)
        run, run_folder = record.env, folder
        if new_run:
            run = artifacts.new_run_id()
            run_folder = _make_run_folder(settings, run)
        with artifacts.full_disk_told(run_folder):
            report = RunFolder(run_folder, _facts(settings, run, record.env, record.engine, why))
        made = cls(settings, record.engine, record.daemon, record.env, folder, record.socket, report)
        made.taken = {log: artifacts.file_size(log) for log in (folder / "services").glob("*.log")}
        return made

    @classmethod
    def join(cls, settings: Settings, engine: Driver, why: str, share: Share) -> Environment:
        """Use the environment of all workers of a pytest, as one of them; the first one opens it.

        Raises:
            ConfigError: the state or run folder cannot be used.
            BrokenStack: the keeper did not start, or is gone.
        """
        artifacts.private_folder(settings.state)
        folder = share.folder(settings)
        with locked(checkout_lock(settings, "workers"), OPEN_BUDGET):
            kept = all_kept(settings).get(engine.name)
            if not (folder / "run.json").is_file():
                _make_run_folder(settings, share.run)
                env = kept.env if kept else share.run
                with artifacts.full_disk_told(folder):
                    RunFolder(folder, _facts(settings, share.run, env, engine.name, why), began=share.began)
            record = share.record(settings)
            if record is None:
                wanted = _environment_id(settings, engine, share.run)
                start_keeper(wanted)
                record = share.record(settings)
        if record is None or not is_alive(record):
            raise BrokenStack(f"The keeper of run {share.run} is gone, its workers have no environment")
        report = WorkerFolder(folder, share.began)
        return cls(
            settings, record.engine, record.daemon, record.env, Path(record.folder), record.socket, report, share
        )

    @classmethod
    def conclude(cls, settings: Settings, share: Share, report: RunFolder) -> Environment | None:
        """Return what the workers of this process shared, to be kept or closed; None when it is gone already.

        Raises:
            BrokenStack: the keeper does not answer.
            LeftoverError: it is gone, and something that it kept could not be removed.
        """
        record = share.record(settings)
        if record is None:
            return None
        if not is_alive(record):
            return cls._concluded(settings, record)
        try:
            return cls(
                settings, record.engine, record.daemon, record.env, Path(record.folder), record.socket, report, share
            )
        except (OSError, BrokenStack):  # it was killed just now, or will not talk
            if not procs.wait_gone(record.keeper.pid, record.keeper.start, 0):
                raise
            return cls._concluded(settings, record)

    @staticmethod
    def _concluded(settings: Settings, record: LedgerRecord) -> None:
        """Do what a keeper that was killed has not done. Raises LeftoverError."""
        if left := finish(settings, record.env, record.keeper.pid, record.keeper.start):
            raise LeftoverError("; ".join(left))

    # -- news ---------------------------------------------------------------------------------------------------

    def hear(self, message: dict[str, Any]) -> None:
        """Take over an event of the engine or of a service, which the keeper tells, or an engine itself."""
        kind = message["event"]
        if kind in ("engine-lost", "engine-back"):
            self._engine_lost = kind == "engine-lost"
        else:
            key = f"{message['stack']}/{message['service']}"
            if kind == "exit" and not message["expected"]:
                message |= {"under": message.get("under") or self._under(message["stack"])}
            with self._lock:
                self._health[key] = message.get("health", "")
                self.changes += 1
                if kind == "started":
                    self._started[key] = message
                    self._exits.pop(key, None)
                elif kind == "exit":
                    self._exits[key] = message
            facts = {"service": message["service"], "stack": message["stack"]}
            if kind == "exit":
                facts |= {"code": message["exit_code"], "asked": message["expected"], "under": message.get("under", "")}
            elif kind == "health":
                facts["health"] = message["health"]
            if message.get("record", True):
                with suppress(OSError):
                    self.report.event(kind, **facts)
        self.news.notify()

    def _on_lost(self) -> None:
        self._keeper_lost = True
        self.news.notify()

    def exit_of(self, stack: str, service: str) -> dict[str, Any] | None:
        """Return the facts of a service's end, None while it runs."""
        with self._lock:
            facts: dict[str, Any] | None = self._exits.get(f"{stack}/{service}")
        return facts

    def started(self, stack: str, service: str) -> dict[str, Any] | None:
        """Return the facts of a container's start, None before it."""
        with self._lock:
            facts: dict[str, Any] | None = self._started.get(f"{stack}/{service}")
        return facts

    def health(self, stack: str, service: str) -> str:
        """Return the health of a container as the engine told it last: "", starting, healthy or unhealthy."""
        with self._lock:
            return str(self._health.get(f"{stack}/{service}", ""))

    def driver_of(self, service: ServicePlan | Known) -> Driver:
        """Return the driver of a service in it."""
        return driver_of(service, DRIVERS[self.engine](self.settings, self.daemon))

    def execute(self, known: Known, argv: Sequence[str], timeout: float) -> procs.Finished:
        """Run a command in a service, with paths as it knows them on its engine. Raises HarnessError."""
        return self.driver_of(known).execute(known, argv, timeout, self)

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
        return Network(**self.link.ask("network", stack=stack, services=services))

    def _hand_over(self, within: float = NETWORK_BUDGET) -> None:
        """Give the keeper the network that was made while it was loading. Raises HarnessError."""
        with self._handing:
            if self._keeper:
                self.link.ask("take_network", made=self._keeper.network(within))
                self._keeper = None

    def blame(self, facts: dict[str, Any]) -> None:
        """Have everybody who finds a dead service later on told what ran when it ended."""
        with suppress(HarnessError):
            self.link.ask("blame", stack=facts["stack"], service=facts["service"], under=facts["under"])

    def forget(self, stack: str, service: str) -> None:
        """A service is about to be started: what an earlier life of it left does not count."""
        with self._lock:
            for known in (self._exits, self._started, self._health):
                known.pop(f"{stack}/{service}", None)
            self.changes += 1

    def expect_end(self, stack: str, service: str) -> None:
        """Count a service as a one-shot: its end with exit code 0 is no fault."""
        self._oneshots.add(f"{stack}/{service}")

    def oneshots_of(self, stack: str) -> list[str]:
        """Return the services of a stack that were told to ``expect_end``."""
        return sorted(name.rpartition("/")[2] for name in self._oneshots if name.rpartition("/")[0] == stack)

    def deaths(self, stacks: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return the facts of ends that nobody asked for, oldest first; a one-shot's with exit code 0 is none.

        Args:
            stacks: only of these, and as long as they are in use; default: all.
        """
        with self._lock:
            exits = list(self._exits.items())
        return [
            facts
            for _, facts in exits
            if not facts["expected"]
            and not self.may_have_ended(facts)
            and (stacks is None or (facts["stack"] in stacks and facts["stack"] in self.brought))
        ]

    def may_have_ended(self, facts: dict[str, Any]) -> bool:
        """Return whether a service is a one-shot that ended well."""
        return f"{facts['stack']}/{facts['service']}" in self._oneshots and facts["exit_code"] == 0

    def learn(self, facts: dict[str, Any]) -> None:
        """Take over what the keeper knows of a service that was started before this run came."""
        key, log = f"{facts['stack']}/{facts['service']}", Path(facts["log"])
        self.taken.setdefault(log, artifacts.file_size(log))
        with self._lock:
            self._started.setdefault(key, facts)
            self._health.setdefault(key, facts["health"])

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

    # -- who uses it --------------------------------------------------------------------------------------------

    def begin_use(self, use: Use) -> None:
        """From now on it is this test that relies on its stacks, and only these matter to its waits."""
        self._last_test |= dict.fromkeys(use.stacks, use.test)
        self._use = use

    def end_use(self) -> None:
        """No test runs: every stack that was brought up matters again."""
        self._use = None

    def _under(self, stack: str) -> str:
        """Return what went on with a stack when a service of it ended, in words."""
        use = self._use
        if use and stack in use.stacks:
            return f"under {use.test}"
        last = self._last_test.get(stack)
        return f"after {last}" if last else "under a test"

    # -- what is wrong with it ----------------------------------------------------------------------------------

    def check(self, stacks: Collection[str] | None = None) -> None:
        """Do nothing while all is well. Called on every turn of every wait.

        Args:
            stacks: the stacks that matter; default: those of the test that runs, else all that were brought up.

        Raises:
            BrokenStack: a service of these ended unasked, or the keeper or the engine is gone.
        """
        use = self._use
        if self._closed or (stacks is None and use and not use.stacks):
            return
        self.check_kept()
        for facts in self.deaths(stacks if stacks is not None else use.stacks if use else self.brought):
            raise self.died(facts)

    def check_kept(self) -> None:
        """Do nothing while there is somebody who keeps it, and an engine; services of it may have ended.

        Raises:
            BrokenStack: the keeper or the engine is gone.
        """
        if self._keeper_lost:
            raise BrokenStack(f"The keeper of environment {self.env} is gone", details=self._keeper_log())
        if self._engine_lost:
            where = self.daemon.host if self.daemon else "?"
            raise BrokenStack(f"The Docker engine at {where} is gone, and with it the stacks of {self.env}")

    def give_up(self) -> None:
        """Have whatever is being brought up end now: a signal came, and nothing more is to be started."""
        self.news.stop()
        self.link.give_up()

    def check_wanted(self) -> None:
        """Do nothing until it was given up; then raise BrokenStack."""
        if self.news.stopped:
            raise BrokenStack("This run was given up")

    def died(self, facts: dict[str, Any], when: str = "", variables: Variables = NO_VARIABLES) -> BrokenStack:
        """Return the error for a service that ended, with its exit code, its reason and its last lines.

        Args:
            facts: of its end.
            when: it ended; default: under the test that used its stack.
            variables: what it was told about others.
        """
        when = when or facts.get("under") or self._under(facts["stack"])
        log, code = Path(facts["log"]), int(facts["exit_code"])
        # Only a container that was killed can have a reason that the engine alone knows.
        known = self.explain(facts["stack"], facts["service"], ask=code == KILLED)
        lines = artifacts.last_lines(log, LOOKED_AT, facts["log_start"])
        why = "" if code in _NO_WORDS else why_ended(lines, variables)
        how = how_ended(code, contained=bool(facts["container"]), known=bool(why))
        if known.get("oom") or facts.get("oom"):
            limit = f", limit {known['memory'] >> 20} MiB" if known.get("memory") else ""
            how += f" (OOMKilled: out of memory{limit})"
        return BrokenStack(
            f"Service {facts['service']!r} ended with {how} {when}{': ' if why else ''}{why} ({self.show(log)})",
            service=facts["service"],
            exit_code_seen=code,
            details=_shown(lines),
            hint=ONE_SHOT if code == 0 else "",
        )

    def last_words(self, facts: dict[str, Any]) -> list[str]:
        """Return the last lines of a service's present life, for an error."""
        return _shown(artifacts.last_lines(Path(facts["log"]), start=facts["log_start"]))

    def explain(self, stack: str, service: str, *, ask: bool = True) -> dict[str, Any]:
        """Return what the engine knows of a container, {} of a process or when it is not asked or does not say."""
        if self.daemon is None:
            return {}
        with suppress(HarnessError):
            return self.link.ask("explain", timeout=EXPLAIN_BUDGET, stack=stack, service=service, ask=ask)
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

    def _keeper_log(self) -> list[str]:
        return artifacts.last_lines(self.folder / LOG, 5)

    # -- the end ------------------------------------------------------------------------------------------------

    def keep(self, ttl: float, stacks: Sequence[str] | None = None) -> None:
        """Let stacks (default: all of this run) stay after it, until ``down`` or ``ttl`` seconds without use."""
        if self.engine == attach.NAME:
            return  # nothing of it is ours
        self.link.ask("keep", ttl=ttl, stacks=stacks)

    def close(self, *, hurried: bool = False) -> list[str]:
        """Give back what this run holds. Return what should be gone and is not, in words.

        With ``hurried`` services get no more grace than what a signal leaves them.
        """
        if self._closed:
            return []
        self._closed = True
        if self._client is not None:
            self._client.close()
        if self._keeper:  # what is still being made must be there, to be removed
            self._keeper.give_up()
            with suppress(HarnessError):
                self._hand_over(KEEPER_BUDGET)
        try:
            answer = self.link.ask_to_remove("goodbye", hurried=hurried)
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
        if self._is_worker:
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


def _shown(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines[-LINES_SHOWN:]] or ["  it wrote nothing"]


def note_failure(report: RunFolder, error: BaseException) -> None:
    """Write into a run's folder why it fails, where that is known, and the exit code that it gets."""
    code = 128 + error.number if isinstance(error, Interrupted) else None
    if isinstance(error, HarnessError):
        code = error.exit_code
    if code is not None:
        with suppress(OSError):
            report.note("reason", str(error))
            report.note("exit_code", code)


def new_environment(settings: Settings, engine: Driver) -> EnvironmentId:
    """Return what a new environment would be called and where it would be; nothing is made."""
    return _environment_id(settings, engine, artifacts.new_run_id())


def _make_run_folder(settings: Settings, run: str) -> Path:
    """Make the folder of a run, while those of old ones go. Raises ConfigError."""
    folder = artifacts.make_run_folder(settings.logs, run)
    prune_soon(settings)
    return folder


def _environment_id(settings: Settings, engine: Driver, run: str) -> EnvironmentId:
    return EnvironmentId(
        run,
        settings.state,
        settings.logs / run,
        checkout_of(settings),
        engine.name,
        engine.daemon,
        settings.networks,
        settings.keys,
    )


def _dismiss(settings: Settings, wanted: EnvironmentId) -> None:
    """Have a keeper that nobody uses end at once, if it is there already; what it leaves if it is killed goes too."""
    with suppress(OSError, HarnessError):
        link = KeeperLink(wanted.socket, lease=True)
        with suppress(HarnessError):
            link.ask("goodbye")
        lost = link.lost
        if link.wait_until_keeper_ended(KEEPER_BUDGET) and lost:
            finish(settings, wanted.env, link.facts["pid"], link.facts["start"])
        link.close()


def _facts(settings: Settings, run: str, env: str, engine: str, why: str) -> dict[str, Any]:
    return {
        "run": run,
        "environment": env,
        "engine": engine,
        "engine_chosen": why,
        "checkout": checkout_of(settings),
        "origins": dict(settings.origins),
    }
