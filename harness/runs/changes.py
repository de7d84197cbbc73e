"""Whether services that are up run what their sources say now, and what is told of those that do not."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts
from harness.engine.snapshots import CAME, WENT, Snapshot
from harness.engine.sources import STARTED, Checkout, sources_of
from harness.ownership.removal import WORK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.config import Settings
    from harness.engine import StackPlan
    from harness.engine.snapshots import Change
    from harness.keeper.messages import ServiceFacts
    from harness.stack import Stack

FOLDER = "sources"
UNFINISHED = "its replacement was not finished"
_BEGUN = "begun"  # beside the snapshot, in its file
_MARGIN = 0.05  # seconds by which the time of a file may be behind the clock
_UNITS = ((86400.0, 36 * 3600, "days"), (3600.0, 90 * 60, "h"), (60.0, 90.0, "min"), (1.0, 1.0, "s"))


@dataclass(frozen=True)
class Changed:
    """A service that does not run what its sources say now.

    Attributes:
        stack: its stack.
        service: its name.
        how: which files changed, and when, in words.
        unfinished: whether its replacement was begun, and failed or was cut short: whatever its sources say now.
    """

    stack: str
    service: str
    how: str
    unfinished: bool = False

    def __str__(self) -> str:
        return f"{self.service}: {self.how}"


def checkout_sources(settings: Settings) -> Checkout:
    """Return the project's folder as sources see it: without run folders, and without the suites of its systems."""
    return Checkout(settings.root, (settings.logs, *(system.tests for system in settings.systems)))


def take(settings: Settings, stack: Stack, plan: StackPlan) -> Snapshot:
    """Return what the sources of a stack's services are now: before anything of it is made or started."""
    return Snapshot.take(sources_of(stack, plan, checkout_sources(settings)))


def _file(environment: Path, stack: str) -> Path:
    return environment / WORK / FOLDER / f"{stack}.json"


def remember(environment: Path, stack: str, snapshot: Snapshot, begun: Iterable[str] = ()) -> None:
    """Write down what the sources of a stack's services were, in the folder of its environment.

    Args:
        environment: that folder.
        stack: its name.
        snapshot: what they were.
        begun: services whose replacement begins now; it is written down again when that is done.
    """
    file = _file(environment, stack)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    table = {**snapshot.as_dict(), _BEGUN: sorted(begun)}
    artifacts.write_atomically(file, json.dumps(table, separators=(",", ":")))


def remembered(environment: Path, stack: str) -> Snapshot | None:
    """Return what was written down, None when that cannot be read: it is of another version, or was removed."""
    return _read(environment, stack)[0]


def _read(environment: Path, stack: str) -> tuple[Snapshot | None, list[str]]:
    """Return what was written down, and the services whose replacement was begun then."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        table = json.loads(_file(environment, stack).read_bytes())
        return Snapshot.from_dict(table), table[_BEGUN]
    return None, []


def all_remembered(environment: Path) -> dict[str, Snapshot]:
    """Return stack -> what was written down of the sources of its services, of all stacks of an environment."""
    names = sorted(file.stem for file in (environment / WORK / FOLDER).glob("*.json"))
    return {name: snapshot for name in names if (snapshot := remembered(environment, name))}


def changed_services(environment: Path, stack: str, services: Iterable[ServiceFacts], root: Path) -> list[Changed]:
    """Return the services of a stack that is up which do not run what their sources say now, or not as they should.

    Args:
        environment: the folder of the environment that it is in.
        stack: its name.
        services: what the keeper tells of its services.
        root: the project's folder, which paths are told from.
    """
    snapshot, begun = _read(environment, stack)
    changes = snapshot.changes() if snapshot else {}
    if not any(changes.values()) and not begun:
        return []
    began = {facts["service"]: facts.get("began", 0.0) for facts in services if facts["stack"] == stack}
    lines = {**dict.fromkeys(begun, UNFINISHED), **told(changes, began, root)}
    return [Changed(stack, name, how, name in begun) for name, how in lines.items() if name in began]


def seed_files(stack: Stack) -> dict[str, list[str]]:
    """Return key -> path as written, full path and digest, of the file of each seed that is planted from one."""
    files = {}
    for seed in stack.settings.seed:
        table = seed.sql or seed.redis or seed.search or seed.http or seed.message
        if table and table.file:
            path = stack.folder / table.file
            files[seed.key] = [table.file, str(path), _digest(path)]
    return files


def seeds_told(recorded: Mapping[str, list[str]]) -> list[str]:
    """Return a line for each seed whose file is another one than what was planted, from what ``seed_files`` gave."""
    return [
        f"seed {key!r}: {name} {'changed' if now else 'was removed'} after it was planted; "
        "`harness up --fresh` plants it anew"
        for key, (name, path, before) in recorded.items()
        if (now := _digest(Path(path))) != before
    ]


def _digest(path: Path) -> str:
    """Return the digest of a file's content, "" where it cannot be read: whoever plants it tells why."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def told(changes: Mapping[str, list[Change]], began: Mapping[str, float], root: Path) -> dict[str, str]:
    """Return service -> which of its files changed since its life began, in words; only of those where one did.

    What a service takes as it is started counts only when it changed after that: it may have been restarted since.

    Args:
        changes: service -> what is another thing than it was before it was made.
        began: service -> when its present life began, in seconds of the wall clock; 0.0 when that is not known.
        root: the folder which paths are told from.
    """
    lines = {}
    for name, listed in changes.items():
        start = began.get(name, 0.0)
        if count := [change for change in listed if change.read != STARTED or change.at > start - _MARGIN]:
            lines[name] = _in_words(count, start, root)
    return lines


def _in_words(changes: list[Change], began: float, root: Path) -> str:
    first = changes[0]
    path = first.path.relative_to(root) if first.path.is_relative_to(root) else first.path
    rest = len({change.path for change in changes}) - 1
    verb = {CAME: "came", WENT: "was removed"}.get(first.how, "changed")
    more = f" and {rest} other file{'s' if rest > 1 else ''} changed, the first"
    what = f"{path}{more if rest else f' {verb}'}"
    if not began:
        return f"{what} after it was started"
    later = first.at - began
    return f"{what} {span(later)} after it was started" if later > 0 else f"{what} while it was started"


def span(seconds: float) -> str:
    """Return a time for people, in the unit that fits."""
    for unit, least, name in _UNITS:
        if seconds >= least:
            number = round(seconds / unit)
            return f"{number} {name}"
    return "less than 1 s"
