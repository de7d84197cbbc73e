"""What was measured before: one JSON line for each run, kept with the project, without anything private in it."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.comparing import Row
from harness import artifacts, procs
from harness.daemon import ask, find_daemon
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
HISTORY = ROOT / "bench" / "history.jsonl"
GIT_BUDGET = 10.0
# What a run itself brings about is no change of what it measures.
_OWN = (":!bench/history.jsonl", ":!docs/speed.md", ":!docs/speed.svg")


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        began: date and time, UTC, ISO 8601.
        commit: id of the commit that was measured, "" when that is not known.
        changed: whether files differed from it.
        whole: whether it was every figure there is, each with its own number of rounds.
        machine: cores, kernel, engine, python, and load: the average over a minute at the begin and at the end.
        figures: rows by figure.
    """

    began: str
    commit: str
    changed: bool
    whole: bool
    machine: dict[str, Any]
    figures: dict[str, list[Row]]

    def line(self) -> str:
        """Return it as the line that is kept: reasons of failures may name paths, and stay out."""
        figures = {
            name: [{**row.without_reason().as_dict(), **_short(row)} for row in rows]
            for name, rows in self.figures.items()
        }
        return json.dumps({**vars(self), "figures": figures}, separators=(",", ":")) + "\n"


def _short(row: Row) -> dict[str, Any]:
    def cut(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

    return {
        "value": cut(row.value),
        "worst": cut(row.worst),
        "ratio": cut(row.ratio),
        "quantiles": {share: cut(value) for share, value in row.quantiles.items()},
    }


def read(path: Path = HISTORY) -> list[Entry]:
    """Return the runs that are kept, oldest first."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        known = json.loads(line)
        figures = {name: [Row(**row) for row in rows] for name, rows in known["figures"].items()}
        entries.append(Entry(**{**known, "figures": figures}))
    return entries


def last_whole(path: Path = HISTORY) -> Entry | None:
    """Return the newest run that measured every figure, None when there is none."""
    return next((one for one in reversed(read(path)) if one.whole), None)


def append(entry: Entry, path: Path = HISTORY) -> None:
    """Keep a run."""
    artifacts.append(path, entry.line())


def commit(root: Path = ROOT) -> tuple[str, bool]:
    """Return the id of the commit that is checked out, and whether files differ from it; "" when there is no git."""
    try:
        head = procs.run(["git", "rev-parse", "HEAD"], timeout=GIT_BUDGET, cwd=root)
        words = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *_OWN]
        status = procs.run(words, timeout=GIT_BUDGET, cwd=root)
    except OSError:
        return "", False
    return (head.stdout.strip(), bool(status.stdout.strip())) if head.code == 0 else ("", False)


def machine(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what figures of two machines differ by; no name of the machine."""
    try:
        engine = ask(find_daemon(environ)).version
    except HarnessError:
        engine = ""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "engine": engine,
        "python": platform.python_version(),
        "load": [load()],
    }


def load() -> float:
    """Return the load average over the last minute."""
    return round(os.getloadavg()[0], 2)
