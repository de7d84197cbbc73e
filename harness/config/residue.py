"""What is watched for what tests leave, ``[tool.harness.residue]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RESIDUE_KEYS: dict[str, type] = {"mode": str, "watch": list, "allow": list}
ALLOW_KEYS: dict[str, type] = dict.fromkeys(("kind", "name", "reason"), str)
WATCHED = (
    "processes", "listening ports", "threads", "environment", "working directory", "umask", "signal handlers", "files",
    "services", "postgres", "postgres sessions", "redis", "kafka topics", "kafka groups", "search", "engine",
)  # fmt: skip
"""What is watched, as reports name it."""


@dataclass(frozen=True)
class Allowed:
    """Things that tests may leave.

    Attributes:
        kind: their kind, as reports name it.
        name: their name, which may have wildcards.
        reason: why they may.
    """

    kind: str
    name: str
    reason: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.kind}: {self.name} ({self.reason})"


@dataclass(frozen=True)
class ResidueSettings:
    """What is done about what tests leave.

    Attributes:
        mode: off, report or fail.
        watch: folders whose files are watched.
        allow: what may be left.
    """

    mode: str = "report"
    watch: tuple[Path, ...] = ()
    allow: tuple[Allowed, ...] = ()


def read_residue(table: Mapping[str, Any], mode: str, root: Path, pyproject: Path) -> ResidueSettings:
    """Return what ``[tool.harness.residue]`` says. Raises ConfigError with everything that is wrong in it.

    Args:
        table: the table.
        mode: what was chosen, which may come from elsewhere.
        root: the project's folder.
        pyproject: the file.
    """
    where = f"{pyproject}: [tool.harness.residue]"
    problems = _wrong(table, RESIDUE_KEYS, where)
    watch, allow = table.get("watch", []), table.get("allow", [])
    if isinstance(watch, list):
        for folder in watch:
            if not isinstance(folder, str) or not folder.strip():
                problems.append(f"{where}: watch has {folder!r}, a folder of the project was needed")
    if isinstance(allow, list):
        for number, entry in enumerate(allow, 1):
            problems += _wrong_entry(entry, f"{where}: allow, entry {number}")
    if problems:
        raise ConfigError.of(problems)
    entries = dict.fromkeys(Allowed(entry["kind"], entry["name"], entry["reason"].strip()) for entry in allow)
    return ResidueSettings(mode, tuple(root / folder for folder in watch), tuple(entries))


def _wrong_entry(entry: object, where: str) -> list[str]:
    if not isinstance(entry, dict):
        return [f'{where}: is {entry!r}, {{kind = "...", name = "...", reason = "..."}} was needed']
    problems = _wrong(entry, ALLOW_KEYS, where)
    problems = problems or [f"{where}: has no {key}" for key in ALLOW_KEYS if not str(entry.get(key, "")).strip()]
    if not problems and entry["kind"] not in WATCHED:
        kind, valid = entry["kind"], f"; valid: {', '.join(WATCHED)}"
        problems = [f"{where}: kind {kind!r} is not known{nearest(kind, WATCHED) or valid}"]
    return problems


def _wrong(table: Mapping[str, Any], keys: Mapping[str, type], where: str) -> list[str]:
    problems = [f"{where}: key {key!r} is not known{nearest(key, keys)}" for key in table if key not in keys]
    return problems + [
        f"{where}: {key} is {type(table[key]).__name__} {table[key]!r}, a {kind.__name__} was needed"
        for key, kind in keys.items()
        if key in table and not isinstance(table[key], kind)
    ]
