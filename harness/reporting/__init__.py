"""Shows a run: its folder with run.json, events.jsonl, junit.xml and the log slices of failed tests."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, clock
from harness.results import Outcome, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCHEMA = 1


class RunFolder:
    """The folder of one run. Everything is written as it happens, so that any kind of end leaves it readable."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self._facts: dict[str, Any] = {"schema": SCHEMA, **facts, "spans": [], "outcomes": {}, "services": {}}
        self._began = clock.now()
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self.save()

    def save(self) -> None:
        """Write run.json."""
        with self._lock:
            artifacts.write_atomically(self.path / "run.json", json.dumps(self._facts, indent=2) + "\n")

    def event(self, what: str, **facts: object) -> None:
        """Append a line to events.jsonl; ``t`` is seconds since the run began."""
        line = json.dumps({"t": round(clock.now() - self._began, 4), "event": what, **facts})
        with self._lock, (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def timed(self, stage: str, of: str) -> Callable[[], None]:
        """Begin a span; call what this returns to end it."""
        began = clock.now()

        def end() -> None:
            span = Span(stage, of, round(began - self._began, 4), round(clock.now() - began, 4))
            with self._lock:
                self._facts["spans"].append(asdict(span))
            self.event("span", **asdict(span))

        return end

    def note(self, key: str, value: object) -> None:
        """Put a fact into run.json."""
        with self._lock:
            self._facts[key] = value
        self.save()

    def image(self, name: str, id_: str) -> None:
        """Note which image a name stood for."""
        with self._lock:
            self._facts.setdefault("images", {})[name] = id_

    def log_range(self, service: str, log: Path, start: int, end: int | None = None) -> None:
        """Note which bytes of a service's log belong to this run; a log elsewhere is linked into the folder."""
        link = self.path / "services" / log.name
        if link != log and not link.exists() and not link.is_symlink():
            link.symlink_to(log)
        with self._lock:
            self._facts["services"][service] = {"log": f"services/{log.name}", "start": start, "end": end}

    def outcome(self, outcome: Outcome) -> None:
        """Take the outcome of a test."""
        self._outcomes.append(outcome)
        with self._lock:
            counts = self._facts["outcomes"]
            counts[outcome.status] = counts.get(outcome.status, 0) + 1
        self.event("test", test=outcome.test, status=outcome.status, seconds=round(outcome.seconds, 4))

    def failure_folder(self, test: str) -> Path:
        """Return the folder for the evidence of a failed test, made."""
        name = re.sub(r"[^\w.\-\[\]]+", "_", test.rpartition("/")[2])[:150]
        folder = self.path / "failures" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, code: int) -> None:
        """Write the last state and junit.xml."""
        write_junit(self.path / "junit.xml", self._outcomes)
        self.note("exit_code", code)


_XML_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str) -> str:
    return _XML_FORBIDDEN.sub("?", text)


def write_junit(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write ``outcomes`` as JUnit XML: failed tests as failures, broken ones as errors with the type of the fault."""
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite  # noqa: PLC0415 - at the end only

    suite = TestSuite("harness")
    for outcome in outcomes:
        file, _, name = outcome.test.partition("::")
        folder = file.removesuffix(".py").replace("/", ".")
        case = TestCase(_xml(name or file), classname=_xml(folder), time=outcome.seconds)
        kinds = {"failed": Failure, "broken": Error, "skipped": Skipped}
        if outcome.status in kinds:
            result = kinds[outcome.status](_xml(outcome.message), _xml(outcome.kind))
            result.text = _xml(outcome.text)
            case.result = [result]
        if outcome.sections:
            case.system_out = "\n".join(_xml(f"--- {title} ---\n{text}") for title, text in outcome.sections)
        suite.add_testcase(case)
    suite.update_statistics()  # type: ignore[no-untyped-call] # a suite of no tests has counts as well
    document = JUnitXml()
    document.add_testsuite(suite)
    scratch = path.with_name(f".{path.name}")
    document.write(str(scratch))
    scratch.replace(path)
