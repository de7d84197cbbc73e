"""An environment as a run sees it: the connection to its keeper, its folder, and the news of its services."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.daemon import connect
from harness.engine import attach
from harness.errors import BrokenStack, HarnessError, LeftoverError
from harness.ownership import ledger
from harness.ownership.client import NETWORK_BUDGET, EnvironmentId, KeeperLink, KeeperToBe, start_keeper
from harness.ownership.networks import Network
from harness.ownership.removal import LOG
from harness.ownership.sweep import locked, sweep
from harness.procs import describe_exit
from harness.readiness import Stop
from harness.reporting import RunFolder, WorkerFolder
from harness.runs.pruning import prune_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker import APIClient

    from harness.config import Settings
    from harness.daemon import Daemon
    from harness.ownership.ledger import LedgerRecord
    from harness.runs.debugging import Debugger
    from harness.runs.wiring import Engine

KEEPER_BUDGET = 10.0
OPEN_BUDGET = 60.0
EXPLAIN_BUDGET = 5.0
KILLED = 137  # how a container's exit code tells SIGKILL


def checkout_of(settings: Settings) -> str:
    """Return the real path of the project: kept environments belong to it."""
    return str(settings.root.resolve())


def checkout_lock(settings: Settings, what: str = "checkout") -> Path:
    """Return the lock that serialises ``up`` and ``down`` of one checkout, or ``what`` else is done one at a time."""
    digest = hashlib.sha256(checkout_of(settings).encode()).hexdigest()[:16]
    return artifacts.private_folder(settings.state) / f"{what}-{digest}.lock"


def all_kept(settings: Settings) -> dict[str, LedgerRecord]:
    """Return the living kept environments of this checkout, by engine."""
    if not settings.state.is_dir():
        return {}
    read = ((path, ledger.read(path)) for path in ledger.all_ledgers(settings.state))
    return {
        record.engine: record
        for path, record in read
        if record and record.kept and record.checkout == checkout_of(settings) and ledger.keeper_is_alive(path)
    }


def find_kept(settings: Settings, engine: str) -> LedgerRecord | None:
    """Return the living kept environment of this checkout and engine, None when there is none."""
    return all_kept(settings).get(engine)


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
            return ledger.read(settings.state / f"{facts['environment']}{ledger.SUFFIX}")
        except (OSError, ValueError, KeyError):
            return None


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
        self.debugger: Debugger | None = None
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
        sponsor = (share.pid, share.start) if share else None
        self.link = KeeperLink(socket, lease=True, sponsor=sponsor, on_event=self._on_event, on_lost=self._on_lost)
        self._engine_lost = self._engine_lost or bool(self.link.facts["engine_lost"])

    @classmethod
    def create(cls, settings: Settings, engine: Engine, why: str, keeper: KeeperToBe | None = None) -> Environment:
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
        try:
            keeper.begin(network=True)
            report = RunFolder(folder, _facts(settings, run, run, engine.name, why))
            keeper.wait()
            return cls(settings, engine.name, engine.daemon, run, folder, wanted.socket, report, keeper=keeper)
        except BaseException:  # such as Ctrl-C: it would wait some seconds for somebody to come
            keeper.dismiss()
            _dismiss(wanted.socket)
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
        report = RunFolder(run_folder, _facts(settings, run, record.env, record.engine, why))
        return cls(settings, record.engine, record.daemon, record.env, folder, record.socket, report)

    @classmethod
    def join(cls, settings: Settings, engine: Engine, why: str, share: Share) -> Environment:
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
                RunFolder(folder, _facts(settings, share.run, env, engine.name, why), began=share.began)
            record = share.record(settings)
            if record is None:
                wanted = _environment_id(settings, engine, share.run)
                start_keeper(wanted)
                record = share.record(settings)
        if record is None or not ledger.keeper_is_alive(record.path):
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
        if not ledger.keeper_is_alive(record.path):
            if left := sweep(settings.state, own=record.env).left_of(record.env):
                raise LeftoverError("; ".join(left))
            return None
        return cls(
            settings, record.engine, record.daemon, record.env, Path(record.folder), record.socket, report, share
        )

    # -- news ---------------------------------------------------------------------------------------------------

    def _on_event(self, message: dict[str, Any]) -> None:
        kind = message["event"]
        if kind in ("engine-lost", "engine-back"):
            self._engine_lost = kind == "engine-lost"
        else:
            key = f"{message['stack']}/{message['service']}"
            with self._lock:
                self._health[key] = message.get("health", "")
                if kind == "started":
                    self._started[key] = message
                    self._exits.pop(key, None)
                elif kind == "exit":
                    self._exits[key] = message
            facts = {"service": message["service"], "stack": message["stack"]}
            if kind == "exit":
                facts |= {"code": message["exit_code"], "asked": message["expected"]}
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

    def forget(self, stack: str, service: str) -> None:
        """A service is about to be started: what an earlier life of it left does not count."""
        with self._lock:
            for known in (self._exits, self._started, self._health):
                known.pop(f"{stack}/{service}", None)

    def expect_end(self, stack: str, service: str) -> None:
        """Count a service as a one-shot: its end with exit code 0 is no fault."""
        self._oneshots.add(f"{stack}/{service}")

    def oneshots_of(self, stack: str) -> list[str]:
        """Return the services of a stack that were told to ``expect_end``."""
        return sorted(name.rpartition("/")[2] for name in self._oneshots if name.rpartition("/")[0] == stack)

    def check(self) -> None:
        """Do nothing while all is well. Called on every turn of every wait.

        Raises:
            BrokenStack: a service of a stack in use ended unasked, or the keeper is gone.
        """
        if self._closed:
            return
        self.check_kept()
        with self._lock:
            exits = list(self._exits.items())
        for name, facts in exits:
            fault = not facts["expected"] and not (name in self._oneshots and facts["exit_code"] == 0)
            if fault and facts["stack"] in self.brought:
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

    def died(self, facts: dict[str, Any], when: str = "under a test") -> BrokenStack:
        """Return the error for a service that ended, with its exit code and last lines."""
        log = Path(facts["log"])
        # Only a container that was killed can have a reason that the engine alone knows.
        known = self.explain(facts["stack"], facts["service"], ask=facts["exit_code"] == KILLED)
        how = describe_exit(facts["exit_code"])
        if known.get("oom") or facts.get("oom"):
            limit = f", limit {known['memory'] >> 20} MiB" if known.get("memory") else ""
            how += f" (OOMKilled: out of memory{limit})"
        lines = [f"  {line}" for line in artifacts.last_lines(log, start=facts["log_start"])] or ["  it wrote nothing"]
        return BrokenStack(
            f"Service {facts['service']!r} ended with {how} {when} ({self.show(log)})",
            service=facts["service"],
            exit_code_seen=facts["exit_code"],
            details=lines,
        )

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

    def close(self) -> list[str]:
        """Give back what this run holds. Return what should be gone and is not, in words."""
        if self._closed:
            return []
        self._closed = True
        if self._client is not None:
            self._client.close()
        if self._keeper:  # what is still being made must be there, to be removed
            self._keeper.give_up()
            with suppress(HarnessError):
                self._hand_over(KEEPER_BUDGET)
        if self._keeper_lost:
            self.link.close()
            if self._is_worker:
                return []  # its controller sees to that
            return sweep(self.settings.state, own=self.env).left_of(self.env)
        try:
            answer = self.link.ask("goodbye", timeout=60)
        except HarnessError as error:
            return [error.summary]
        finally:
            self.link.close()
        left: list[str] = list(answer["left"])
        if answer["ended"] and not self.link.wait_until_keeper_ended(KEEPER_BUDGET):
            left.append(f"the keeper of {self.env}")
        return left


def new_environment(settings: Settings, engine: Engine) -> EnvironmentId:
    """Return what a new environment would be called and where it would be; nothing is made."""
    return _environment_id(settings, engine, artifacts.new_run_id())


def _make_run_folder(settings: Settings, run: str) -> Path:
    """Make the folder of a run, while those of old ones go. Raises ConfigError."""
    folder = artifacts.make_run_folder(settings.logs, run)
    prune_soon(settings)
    return folder


def _environment_id(settings: Settings, engine: Engine, run: str) -> EnvironmentId:
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


def _dismiss(socket: str) -> None:
    """Have a keeper that nobody uses end at once, if it is there already."""
    with suppress(OSError, HarnessError):
        link = KeeperLink(socket, lease=True)
        link.ask("goodbye")
        link.wait_until_keeper_ended(KEEPER_BUDGET)
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
