"""A run as its folder tells it: what was tested, what broke or failed and why, how long what took."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from junitparser import Error, Failure, JUnitXml
from junitparser.junitparser import JUnitXmlError

from harness.artifacts import printable
from harness.errors import EXIT_MEANING, Residue
from harness.results.times import times_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BAD = ("broken", "failed")
_SLOWEST = 10


@dataclass(frozen=True)
class RunShown:
    """What is known of a run.

    Attributes:
        run: its id.
        folder: its folder.
        facts: run.json, {} when it cannot be read.
        bad: test, status and first line of each that was broken or failed.
        slowest: test and seconds of those that took longest.
        notes: what could not be read.
    """

    run: str
    folder: Path
    facts: dict[str, Any]
    bad: tuple[dict[str, str], ...] = ()
    slowest: tuple[dict[str, Any], ...] = ()
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
            "time",
            "spans",
            "services",
        )
        facts = {key: self.facts.get(key) for key in (*keys, "images", "service_images", "left", "residue")}
        facts |= {key: self.facts.get(key) or [] for key in ("flaky", "quarantined", "lapsed")}
        tests = {"bad": list(self.bad), "slowest": list(self.slowest)}
        return {"run": self.run, "folder": str(self.folder), **facts, **tests, "notes": list(self.notes)}

    @property
    def ending(self) -> str:
        """How it ended, as one line."""
        code = self.facts.get("exit_code")
        if code is None:
            return "exit code: none was written; it was no test run, is not over, or was killed"
        return f"exit code: {code} ({EXIT_MEANING.get(code, 'pytest or the command says what it means')})"

    @property
    def counts(self) -> str:
        """How many tests ended in which way, as one line."""
        outcomes = self.facts.get("outcomes") or {}
        return "tests: " + (", ".join(f"{n} {status}" for status, n in sorted(outcomes.items())) or "none")

    @property
    def uncounted(self) -> list[tuple[str, str, str]]:
        """Tests that failed without failing the run: how it is called, node id and first line of the error."""
        found = []
        for test in self.facts.get("flaky") or ():
            new = ", and was not before" if test.get("new") else ""
            found.append((f"flaky (passed at try {test.get('tries', '?')}{new})", test["test"], test["line"]))
        for test in self.facts.get("quarantined") or ():
            held = test.get("quarantine", {})
            why = f"{held.get('owner', '?')}, until {held.get('expires', '?')}: {held.get('reason', '?')}"
            found.append((f"quarantined ({why})", test["test"], test["line"]))
        return [(how, printable(test.encode()), printable(line.encode())) for how, test, line in found]

    @property
    def residue(self) -> list[str]:
        """What tests left, a line each."""
        return [f"{thing['test']}: {thing['text']}" for thing in self.facts.get("residue") or ()]

    def __str__(self) -> str:
        facts = self.facts
        lines = [f"run {self.run} on {facts.get('engine', '?')} ({facts.get('engine_chosen', '?')})", self.ending]
        if reason := facts.get("reason"):
            first, *more = str(reason).splitlines()
            lines += [f"reason: {first}", *(f"  {line}" for line in more)]
        lines.append(self.counts)
        lines += [f"  {test['status']}: {test['test']}\n    {test['line']}" for test in self.bad]
        lines += [f"time: {times}"] if (times := times_in(facts)) else []
        lines += [f"  {how}: {test}\n    {line}" for how, test, line in self.uncounted]
        lines += [f"  quarantine lapsed: {lapsed_line(entry)}" for entry in facts.get("lapsed") or ()]
        spans = sorted(facts.get("spans") or (), key=lambda span: span["began"])
        lines += ["spans:"] * bool(spans)
        lines += [f"  {span['began']:8.2f} s +{span['seconds']:.2f} s  {span['stage']} {span['of']}" for span in spans]
        services = facts.get("services") or {}
        lines += ["services:"] * bool(services)
        lines += [f"  {name}: {self.folder / log['log']}" for name, log in services.items()]
        lines += [f"left: {thing}" for thing in facts.get("left") or ()]
        lines += [f"left by {thing}" for thing in self.residue]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, f"folder: {self.folder}"])


def lapsed_line(entry: Mapping[str, str]) -> str:
    """Return what is said of an entry of the quarantine whose last day is over."""
    ended = f"its last day was {entry['expires']}, it counts again"
    return f"{entry['test']} ({entry['owner']}): {entry['reason']}; {ended}"


def read_run(folder: Path) -> RunShown:
    """Return what the folder of a run tells; what cannot be read becomes a note."""
    notes: list[str] = []
    facts = _read(folder / "run.json", notes)
    bad: list[dict[str, str]] = []
    slowest: list[dict[str, Any]] = []
    path = folder / "junit.xml"
    if path.exists():
        try:
            cases = list(_cases(path))
            bad = [test for case in cases for test in _bad(case)]
            slowest = [{"test": _name(case), "seconds": round(float(case.time or 0), 4)} for case in cases]
        except (JUnitXmlError, OSError, ValueError, SyntaxError) as error:
            notes.append(f"{path.name} cannot be read: {error}")
    bad.sort(key=lambda test: _BAD.index(test["status"]))
    slowest.sort(key=lambda test: -test["seconds"])
    return RunShown(folder.name, folder, facts, tuple(bad), tuple(slowest[:_SLOWEST]), tuple(notes))


def _read(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        notes.append(f"{path.name} is of another schema; what is shown may be wrong")
    return facts if isinstance(facts, dict) else {}


def _cases(path: Path) -> Iterator[Any]:
    for suite in JUnitXml.fromfile(str(path)):
        yield from suite


def _name(case: Any) -> str:  # noqa: ANN401 - junitparser has no types for what it iterates
    return f"{case.classname}::{case.name}"


def _bad(case: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401 - as above
    """Yield why a test was broken or failed."""
    for result in case.result:
        if isinstance(result, Error | Failure):
            text = (result.message or result.text or "").strip().partition("\n")[0]
            status = "broken" if isinstance(result, Error) and result.type != Residue.__name__ else "failed"
            yield {"test": _name(case), "status": status, "line": printable(text.encode())}
