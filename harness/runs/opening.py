"""How a run comes to its environment: a new one, the one that ``up`` left, or the one that workers share."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, procs
from harness.errors import BrokenStack, HarnessError, LeftoverError
from harness.keeper.client import EnvironmentId, KeeperLink, KeeperToBe, start_keeper
from harness.keeper.living import is_alive
from harness.keeper.messages import Goodbye
from harness.ownership.locks import locked
from harness.reporting import RunFolder, WorkerFolder
from harness.runs.environment import KEEPER_BUDGET, Environment, finish
from harness.runs.evidence import note_failure
from harness.runs.known import all_kept, checkout_lock, checkout_of
from harness.runs.pruning import prune_soon

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.engine.driver import Driver
    from harness.ownership.ledger import LedgerRecord
    from harness.runs.share import Share

OPEN_BUDGET = 60.0


def new_environment(settings: Settings, engine: Driver) -> EnvironmentId:
    """Return what a new environment would be called and where it would be; nothing is made."""
    return _environment_id(settings, engine, artifacts.new_run_id())


def create(settings: Settings, engine: Driver, why: str, keeper: KeeperToBe | None = None) -> Environment:
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
        return Environment(settings, wanted, report, keeper=keeper)
    except BaseException as error:  # such as Ctrl-C: it would wait some seconds for somebody to come
        if report:
            note_failure(report, error)
        keeper.dismiss()
        _dismiss(settings, wanted)
        keeper.clear()
        raise


def attach(settings: Settings, record: LedgerRecord, why: str, *, new_run: bool) -> Environment:
    """Connect to a kept environment; with ``new_run`` this run gets a folder of its own."""
    folder = Path(record.folder)
    run, run_folder = record.env, folder
    if new_run:
        run = artifacts.new_run_id()
        run_folder = _make_run_folder(settings, run)
    with artifacts.full_disk_told(run_folder):
        report = RunFolder(run_folder, _facts(settings, run, record.env, record.engine, why))
    environment = Environment(settings, record, report)
    environment.lives.taken = {log: artifacts.file_size(log) for log in (folder / "services").glob("*.log")}
    return environment


def join(settings: Settings, engine: Driver, why: str, share: Share) -> Environment:
    """Use the environment of all workers of a pytest, as one of them or as their controller; the first one opens it.

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
    # Who has begun the run sums it up; where that one has brought up something itself, it comes here too.
    report = share.report(settings) if share.pid == os.getpid() else None
    return Environment(settings, record, report or WorkerFolder(folder, share.began), share)


def conclude(settings: Settings, share: Share, report: RunFolder) -> Environment | None:
    """Return what the workers of this process shared, to be kept or closed; None when it is gone already.

    Raises:
        BrokenStack: the keeper does not answer.
        LeftoverError: it is gone, and something that it kept could not be removed.
    """
    record = share.record(settings)
    if record is None:
        return None
    if is_alive(record):
        try:
            return Environment(settings, record, report, share)
        except (OSError, BrokenStack):  # it was killed just now, or will not talk
            if not procs.wait_gone(record.keeper.pid, record.keeper.start, 0):
                raise
    if left := finish(settings, record.env, record.keeper.pid, record.keeper.start):
        raise LeftoverError("; ".join(left))
    return None


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
            link.ask(Goodbye())
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
