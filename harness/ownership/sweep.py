"""The sweep at every start: environments whose keeper and lease holders are all dead are removed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import irregular
from harness.daemon import reach
from harness.errors import ConfigError, HarnessError, nearest
from harness.ownership import ledger, objects, removal
from harness.ownership.identity import is_proven_dead, this_process
from harness.ownership.locks import locked
from harness.ownership.proof import user_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.daemon import Daemon
    from harness.ownership.identity import Owner
    from harness.ownership.ledger import LedgerRecord


LOCK_BUDGET = 60.0
SETTLED_AFTER = 10.0
_MOMENT = 15  # letters of an id that say when a run began (``artifacts.new_run_id``)


@dataclass(frozen=True)
class Dead:
    """What a dead run left: processes, containers, networks, volumes and folders that are there, in words.

    ``checkout`` is the real path of its project, "" where the ledger is lost.
    """

    env: str
    checkout: str
    things: tuple[str, ...]

    def __str__(self) -> str:
        whose = f" of {self.checkout}" if self.checkout else ", whose ledger is lost"
        return f"environment {self.env} of a dead run{whose}: {', '.join(self.things) or 'only its ledger'}"


@dataclass(frozen=True)
class Cleared:
    """An environment of a dead run that a sweep has seen to.

    Attributes:
        checkout: real path of the project, "" where the ledger is lost.
        left: what could not be removed, in words; nothing when all of it is gone.
        told: whether just that was left, and told, before.
    """

    env: str
    checkout: str
    left: tuple[str, ...] = ()
    told: bool = False

    def __str__(self) -> str:
        if self.checkout:
            whose = f"environment {self.env} of a dead run "
            return whose + (f"could not be cleared: {', '.join(self.left)} left" if self.left else "was cleared")
        whose = f"containers of environment {self.env}, whose ledger is lost and whose owner is dead, "
        return whose + (f"could not be cleared: {'; '.join(self.left)}" if self.left else "were cleared")

    def seen_from(self, checkout: str) -> str:
        """Return it in words for somebody in ``checkout``, to whom another one must be named, with its age."""
        if self.checkout in ("", checkout):
            return str(self)
        return f"{self} (of {self.checkout}{_age_of(self.env)})"


def _age_of(env: str) -> str:
    """Return how long ago an environment was begun, in words, as its id tells; "" if it does not."""
    try:
        begun = datetime.strptime(env[:_MOMENT], "%Y%m%d-%H%M%S").astimezone()
    except ValueError:
        return ""
    minutes = max(0, int((datetime.now(UTC) - begun).total_seconds() // 60))
    if minutes < 2 * 60:
        return f", begun {minutes} min ago"
    hours = minutes // 60
    return f", begun {hours} h ago" if hours < 2 * 24 else f", begun {hours // 24} days ago"


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Attributes:
        environments: those of dead runs, cleared or not.
        notes: lines about what could not be looked at. Nothing is known to be left there.
    """

    environments: tuple[Cleared, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def uncleared(self) -> tuple[Cleared, ...]:
        """The environments of which something is left."""
        return tuple(environment for environment in self.environments if environment.left)

    def left_of(self, env: str) -> list[str]:
        """Return what is left of one environment, in words."""
        return [thing for environment in self.environments if environment.env == env for thing in environment.left]

    def lines(self) -> list[str]:
        """Return all of it for people, a line for each environment and note."""
        return [*map(str, self.environments), *self.notes]

    def news(self, checkout: str = "") -> list[str]:
        """Return the same without what was told before, for somebody in ``checkout``."""
        return [*(cleared.seen_from(checkout) for cleared in self.environments if not cleared.told), *self.notes]


def _is_dead(path: Path, here: Owner, own: str = "") -> LedgerRecord | None:
    """Return what a ledger says if its keeper and all who held a lease on it are proven dead."""
    record = ledger.read(path)
    if record is None or ledger.keeper_is_alive(path) or not is_proven_dead(record.keeper, here):
        return None
    if record.env != own and not all(is_proven_dead(holder, here) for holder in record.holders):
        return None
    return record


def find_dead(state: Path, daemon: Daemon | None = None, keys: Sequence[Path] = ()) -> tuple[list[Dead], list[str]]:
    """Return what a sweep would remove, and lines about what could not be looked at or proven. Nothing is changed."""
    here, dead, notes = this_process(), [], []
    ledgers = ledger.environments(state)
    for path in ledgers.values():
        record = _is_dead(path, here)
        if record:
            things = procs.described(removal.living(record))
            things += removal.containers_of(record, daemon)
            if removal.has_work_folder(Path(record.folder)):
                things.append(f"folder {Path(record.folder, removal.WORK)}")
            dead.append(Dead(record.env, record.checkout, tuple(things)))
        elif ledger.read(path) is None:
            notes.append(f"{path} is {irregular(path) or 'no ledger that can be read'}")
    if daemon:
        try:
            api = reach(daemon, within=removal.ENGINE_BUDGET)
            orphans = objects.find_orphans(api, _seeker(daemon, keys, here), set(ledgers))
            dead += [Dead(env, "", tuple(map(str, things))) for env, things in orphans.proven.items()]
            notes += [
                f"{thing} has labels of environment {thing.labels[objects.RUN]} and nothing proves that it is of it "
                "(a copy, renamed, or of an earlier version): it is left alone"
                for thing in orphans.unproven
            ]
        except HarnessError as error:
            notes.append(error.summary)
    return dead, notes


def _set_aside(path: Path) -> str:
    """Rename a ledger that cannot be read, so that it is told of once; return what to tell, "" for nothing.

    What is no regular file is left where it is.
    """
    if kind := irregular(path):
        return f"{path} is {kind}, no ledger; it is passed over"
    if ledger.keeper_is_alive(path) or not ledger.is_unreadable(path):
        return ""
    with contextlib.suppress(OSError):
        if datetime.now(UTC).timestamp() - path.stat().st_mtime < SETTLED_AFTER:
            return ""  # a keeper that has just made it may be about to lock it
    aside = path.with_suffix(".unreadable")
    try:
        path.replace(aside)
    except OSError as error:
        return f"{path} cannot be read as a ledger, nor be set aside: {error.strerror}"
    return (
        f"{path.name} could not be read as a ledger and was set aside as {aside}; what it owned is found by labels only"
    )


def _seeker(daemon: Daemon, keys: Sequence[Path], here: Owner) -> objects.Seeker:
    return objects.Seeker(here, user_keys(keys), local=daemon.host.startswith("unix://"))


def sweep(state: Path, *, own: str = "", daemon: Daemon | None = None, keys: Sequence[Path] = ()) -> Swept:
    """Remove what dead runs of this user left.

    Only ledgers of our schema, whose keeper holds no lock and whose owners are proven dead, are touched.

    Args:
        state: the state folder.
        own: an environment whose keeper died under its living holder, who calls this and so gives its consent.
        daemon: the Docker engine in use; what dead owners of ours left there without a ledger is removed too.
        keys: where the keys of this user are, which prove that.
    """
    here = this_process()
    environments: list[Cleared] = []
    notes: list[str] = []
    with locked(state / "sweep.lock", timeout=LOCK_BUDGET):
        for path in ledger.all_ledgers(state):
            record = _is_dead(path, here, own)
            if record is None:
                if line := _set_aside(path):
                    notes.append(line)
                continue
            left = tuple(removal.clear(record, daemon))
            if left and left != record.left:
                ledger.note_left(path, left)
            environments.append(Cleared(record.env, record.checkout, left, told=bool(left) and left == record.left))
        if daemon:
            try:
                api = reach(daemon, within=removal.ENGINE_BUDGET)
                orphans = objects.remove_orphans(api, _seeker(daemon, keys, here), set(ledger.environments(state)))
                environments += [Cleared(env, "", tuple(left)) for env, left in orphans.items()]
            except HarnessError as error:
                notes.append(error.summary)  # no reason to keep a new run from starting
    return Swept(tuple(environments), tuple(notes))


def forget(state: Path, env: str, *, daemon: Daemon | None = None) -> Cleared:
    """Clear what can be cleared of a dead environment, and look no more for the rest on its engine.

    Returns:
        What became of it. Where something of this machine is left, it is not forgotten.

    Raises:
        ConfigError: there is none, or it is not proven dead.
    """
    with locked(state / "sweep.lock", timeout=LOCK_BUDGET):
        paths = ledger.environments(state)
        if env not in paths:
            raise ConfigError(
                f"Environment {env!r} is not known; there are: {', '.join(paths) or 'none'}{nearest(env, paths)}"
            )
        record = _is_dead(paths[env], this_process())
        if record is None:
            raise ConfigError(f"Environment {env} is not proven dead, so it is not forgotten", hint="`harness down`")
        left = removal.clear(record, daemon)
        if not removal.clear_machine(record):
            record.path.unlink(missing_ok=True)
        return Cleared(record.env, record.checkout, tuple(left))
