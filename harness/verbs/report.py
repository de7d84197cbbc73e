"""A run, shown from its folder: what was tested, what broke or failed and why, how long what took."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from junitparser import Error, Failure, JUnitXml
from junitparser.junitparser import JUnitXmlError

from harness.artifacts import printable
from harness.errors import EXIT_MEANING, ConfigError, nearest

if TYPE_CHECKING:
    from harness.config import Settings

_BAD = ("broken", "failed")


@dataclass(frozen=True)
class RunShown:
    """What is known of a run.

    Attributes:
        run: its id.
        folder: its folder.
        facts: run.json, {} when it cannot be read.
        bad: test, status and first line of each that was broken or failed.
        notes: what could not be read.
    """

    run: str
    folder: Path
    facts: dict[str, Any]
    bad: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        keys = (
            "environment",
            "engine",
            "engine_chosen",
            "checkout",
            "exit_code",
            "reason",
            "outcomes",
            "spans",
            "services",
        )
        facts = {key: self.facts.get(key) for key in (*keys, "images", "left")}
        return {"run": self.run, "folder": str(self.folder), **facts, "bad": list(self.bad), "notes": list(self.notes)}

    def __str__(self) -> str:
        facts = self.facts
        lines = [f"run {self.run} on {facts.get('engine', '?')} ({facts.get('engine_chosen', '?')})"]
        code = facts.get("exit_code")
        if code is None:
            lines.append("exit code: none was written; it was no test run, is not over, or was killed")
        else:
            lines.append(f"exit code: {code} ({EXIT_MEANING.get(code, 'pytest or the command says what it means')})")
        if reason := facts.get("reason"):
            first, *more = str(reason).splitlines()
            lines += [f"reason: {first}", *(f"  {line}" for line in more)]
        outcomes = facts.get("outcomes") or {}
        lines.append("tests: " + (", ".join(f"{n} {status}" for status, n in sorted(outcomes.items())) or "none"))
        lines += [f"  {one['status']}: {one['test']}\n    {one['line']}" for one in self.bad]
        spans = sorted(facts.get("spans") or (), key=lambda one: one["began"])
        lines += ["spans:"] * bool(spans)
        lines += [f"  {one['began']:8.2f} s +{one['seconds']:.2f} s  {one['stage']} {one['of']}" for one in spans]
        services = facts.get("services") or {}
        lines += ["services:"] * bool(services)
        lines += [f"  {name}: {self.folder / one['log']}" for name, one in services.items()]
        lines += [f"left: {one}" for one in facts.get("left") or ()]
        lines += [f"note: {one}" for one in self.notes]
        return "\n".join([*lines, f"folder: {self.folder}"])


def show_run(settings: Settings, run: str = "") -> RunShown:
    """Return a run by its id, or any unambiguous part of it; the newest by default.

    Raises:
        ConfigError: there is no such run, or there are several.
    """
    known = sorted(path.parent.name for path in settings.logs.glob("*/run.json") if _is_run(path.parent))
    if not known:
        raise ConfigError(f"No run has a folder in {settings.logs}", hint="`harness test` or `harness up` makes one")
    if run in ("", "latest"):
        latest = settings.logs / "latest"
        name = latest.resolve().name if latest.exists() else known[-1]
    else:
        matching = [run] if run in known else [one for one in known if run in one]
        if len(matching) != 1:
            seen = "is not known" if not matching else f"could be any of {', '.join(matching[-5:])}"
            raise ConfigError(f"Run {run!r} {seen}; the newest are: {', '.join(known[-5:])}{nearest(run, known)}")
        name = matching[0]
    folder = settings.logs / name
    notes: list[str] = []
    facts = _read(folder / "run.json", notes)
    return RunShown(name, folder, facts, tuple(_bad(folder / "junit.xml", notes)), tuple(notes))


def _is_run(folder: Path) -> bool:
    return not folder.is_symlink() and not folder.name.startswith(".")  # one that is just being removed


def _read(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        notes.append(f"{path.name} is of another schema; what is shown may be wrong")
    return facts if isinstance(facts, dict) else {}


def _bad(path: Path, notes: list[str]) -> list[dict[str, str]]:
    """Return the broken and failed tests of a JUnit file."""
    if not path.exists():
        return []
    found = []
    try:
        for suite in JUnitXml.fromfile(str(path)):
            for case in suite:
                for result in case.result:
                    if isinstance(result, Error | Failure):
                        status = "broken" if isinstance(result, Error) else "failed"
                        text = (result.message or result.text or "").strip().partition("\n")[0]
                        line = printable(text.encode())
                        found.append({"test": f"{case.classname}::{case.name}", "status": status, "line": line})
    except (JUnitXmlError, OSError, ValueError, SyntaxError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
    return sorted(found, key=lambda one: _BAD.index(one["status"]))
