"""Kept environments: what ``up`` leaves, ``ps`` shows and ``down`` removes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import printable, read_slice
from harness.engine import attach
from harness.errors import ConfigError, LeftoverError
from harness.ownership.client import KeeperLink
from harness.ownership.sweep import locked, sweep
from harness.runs.environment import KEEPER_BUDGET, all_kept, checkout_lock
from harness.runs.lifecycle import ACQUIRE_BUDGET, Run, running
from harness.runs.stack import Known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.config import Settings
    from harness.ownership.ledger import LedgerRecord

LOCK_BUDGET = ACQUIRE_BUDGET  # another `up` of this checkout may be building


@dataclass(frozen=True)
class ServiceLine:
    """One service of a kept environment, for a table."""

    stack: str
    service: str
    state: str
    pid: int
    exit_code: int | None
    endpoints: dict[str, str]
    log: str


def up(settings: Settings, say: Callable[[str], None], *, ttl: float) -> dict[str, str]:
    """Bring up the chosen stack and leave it up; return its endpoints (``SERVICE:PORT`` -> ``host:port``).

    What is up already and unchanged is left alone; when a stack was changed since, everything is started anew.

    Raises:
        ConfigError: something written is wrong; nothing was created.
        BrokenStack: the stack did not settle; what was started for it is gone.
    """
    if settings.engine == attach.NAME:
        raise ConfigError("Engine attach starts nothing, so there is nothing that `up` could leave up")
    name = settings.default_stack()
    with locked(checkout_lock(settings), LOCK_BUDGET):
        run = Run(settings, say, new_run=False)
        with running(run):
            stack = run.bring(name)
            changed = list(run.changed)
            if not changed and run.environment:
                run.environment.keep(ttl)
                return stack.endpoints()
        say(f"{', '.join(changed)}: changed since it was started; everything is started anew")
        _down(settings, say)
        run = Run(settings, say, new_run=False)
        with running(run):
            stack = run.bring(name)
            if run.environment:
                run.environment.keep(ttl)
            return stack.endpoints()


def down(settings: Settings, say: Callable[[str], None]) -> None:
    """Stop and remove the kept environment of this checkout, verified. Nothing being up is no error.

    Raises:
        LeftoverError: something of it could not be removed.
    """
    if not settings.state.is_dir():
        say("nothing is up here")
        return
    with locked(checkout_lock(settings), LOCK_BUDGET):
        _down(settings, say)


def _down(settings: Settings, say: Callable[[str], None]) -> None:
    for line in sweep(settings.state):
        say(line)
    records = _records(settings)
    if not records:
        say("nothing is up here")
    left: list[str] = []
    for record in records:
        left += _down_one(record, say)
    if left:
        raise LeftoverError(f"Teardown left {len(left)} thing(s): {left[0]}", details=[f"  {line}" for line in left])


def _records(settings: Settings) -> list[LedgerRecord]:
    """Return the kept environments of this checkout, on the engine that was asked for or on any."""
    return [one for name, one in all_kept(settings).items() if settings.engine in ("auto", name)]


def _down_one(record: LedgerRecord, say: Callable[[str], None]) -> list[str]:
    link = KeeperLink(record.socket, lease=False)
    try:
        answer = link.ask("down", timeout=60)
    finally:
        link.close()
    left = list(answer["left"])
    if answer["held_by"]:
        say(f"{record.env} is kept no longer; it is still used by {', '.join(answer['held_by'])}")
    elif not link.wait_until_keeper_ended(KEEPER_BUDGET):
        left.append(f"the keeper of {record.env}")
    elif not left:
        say(f"{record.env} is down, nothing is left")
    return left


@contextmanager
def _link(settings: Settings) -> Iterator[tuple[LedgerRecord, dict[str, Any]]]:
    record = next(iter(_records(settings)), None)
    if record is None:
        raise ConfigError("Nothing is up here", hint="`invoke up` (or `harness up`) starts the stack")
    link = KeeperLink(record.socket, lease=False)
    try:
        yield record, link.ask("services")
    finally:
        link.close()


def listed(settings: Settings) -> list[ServiceLine]:
    """Return the services of the kept environment of this checkout. Raises ConfigError when nothing is up."""
    with _link(settings) as (_, answer):
        lines = []
        for one in answer["services"]:
            record = answer["stacks"][one["stack"]]["record"].get("services", {}).get(one["service"])
            known = Known.from_dict(record) if record else None
            lines.append(
                ServiceLine(
                    stack=one["stack"],
                    service=one["service"],
                    state=one["state"],
                    pid=one["pid"],
                    exit_code=one["exit_code"],
                    endpoints={f"{one['service']}:{end.left}": str(end) for end in known.endpoints} if known else {},
                    log=one["log"],
                )
            )
        return lines


def logs(settings: Settings, service: str = "") -> Iterator[str]:
    """Yield the log lines of the kept environment, each with its service in front unless one is chosen.

    Raises:
        ConfigError: nothing is up, or there is no such service.
    """
    lines = listed(settings)
    chosen = [one for one in lines if service in ("", one.service)]
    if not chosen:
        known = ", ".join(one.service for one in lines)
        raise ConfigError(f"Service {service!r} is not up; there are: {known}")
    width = max(len(one.service) for one in chosen)
    for one in chosen:
        prefix = "" if service else f"{one.service:<{width}} | "
        for line in printable(read_slice(Path(one.log))).splitlines():
            yield prefix + line
