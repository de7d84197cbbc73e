"""Shows a run: its folder with run.json, events.jsonl, junit.xml and the log slices of failed tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
import weakref
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, clock
from harness.errors import Residue
from harness.results import Outcome, Span
from harness.results.times import times_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from junitparser import JUnitXml, TestCase

SCHEMA = 1
EVENTS = "events.jsonl"
_NAMED = ("flaky", "quarantined")  # what run.json has by name, too
SAVE_EVERY = 1.0  # seconds; the events themselves are on disk at once


def _hold(owner: object, path: Path) -> None:
    """Show, while this process and ``owner`` live, that somebody writes in a run's folder."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(owner, os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)


class RunFolder:
    """The folder of one run. Everything is written as it happens, so that any kind of end leaves it readable.

    Every fact is a line of events.jsonl first; run.json is what the lines add up to. So several processes can write one
    run: each appends lines, one of them (the one that is no ``worker``) sums up.

    Args:
        path: the folder.
        facts: what is known of the run at its begin.
        began: monotonic time at which the run began; default: now.

    Raises:
        OSError: nothing can be written from the beginning.
    """

    def __init__(self, path: Path, facts: dict[str, Any], *, began: float | None = None) -> None:
        self._begin(path, {"schema": SCHEMA, **facts, "spans": [], "outcomes": {}, "services": {}}, began)
        self.save()
        if self._problem:
            raise self._problem

    def _begin(self, path: Path, facts: dict[str, Any], began: float | None) -> None:
        self.path = path
        _hold(self, path)
        self._facts = facts
        self._began = clock.now() if began is None else began
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._saved = 0.0
        self._told = False
        self._problem: OSError | None = None
        self._read = -1  # how much of events.jsonl is summed up; -1: what this process writes is all there is

    @classmethod
    def of_controller(cls, path: Path, began: float) -> RunFolder:
        """Return the folder that workers write to, as the process sees it that sums up. Raises OSError, ValueError."""
        folder = cls.__new__(cls)
        folder._begin(path, json.loads((path / "run.json").read_text(encoding="utf-8")), began)  # noqa: SLF001 - its own
        folder._read = 0  # noqa: SLF001 - its own
        return folder

    @property
    def facts(self) -> Mapping[str, Any]:
        """What run.json says."""
        return self._facts

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """How tests ended, as far as this process has written it down."""
        return self._outcomes

    @property
    def began(self) -> float:
        """The monotonic time at which the run began."""
        return self._began

    # -- a disk that is full, or gone ---------------------------------------------------------------------------

    def _try(self, path: Path, write: Callable[[Path], object]) -> bool:
        """Write something at ``path``; return whether the disk took it. No test's outcome may be lost to its evidence.

        That something was not taken is told once, at the end.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        except OSError as error:
            self._problem = self._problem or error
            return False
        return True

    def unwritten(self) -> str:
        """Return, for people and once, that something could not be written; "" when all was."""
        if self._told or not self._problem:
            return ""
        self._told, why = True, self._problem.strerror or self._problem
        return f"evidence could not be written, some of it is missing in {self.path}: {why}"

    # -- what is written ----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write run.json."""
        with self._lock:
            self._sum_up()
            self._saved = clock.now()
            text = json.dumps(self._facts, indent=2) + "\n"
            self._try(self.path / "run.json", lambda path: artifacts.write_atomically(path, text))

    def _sum_up(self) -> None:
        """Take what all processes have written since the last time."""
        if self._read < 0:
            return
        data = artifacts.read_slice(self.path / EVENTS, self._read)
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError):
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "span":
            self._facts["spans"].append({key: line[key] for key in ("stage", "of", "began", "seconds")})
        elif line["event"] == "image":
            self._facts.setdefault("images", {})[line["name"]] = line["id"]
            facts = {key: value for key, value in line.items() if key not in ("t", "event")}
            others = [one for one in self._facts.get("service_images", ()) if one["service"] != facts.get("service")
                      or one["stack"] != facts.get("stack")]  # fmt: skip
            self._facts["service_images"] = [*others, facts]
        elif line["event"] == "log":
            self._facts["services"][line["service"]] = {key: line[key] for key in ("log", "start", "end")}
        elif line["event"] == "fault":
            self._facts.setdefault("faults", []).append({key: line[key] for key in ("test", "service", "summary")})
        elif line["event"] == "residue":
            keys = ("test", "kind", "name", "detail", "change", "by", "text")
            self._facts.setdefault("residue", []).append({key: line[key] for key in keys})
        elif line["event"] == "test":
            counts = self._facts["outcomes"]
            counts[line["status"]] = counts.get(line["status"], 0) + 1
            if line["status"] in _NAMED:
                named = {"test": line["test"], "line": line.get("reason", "")}
                named |= {key: line[key] for key in ("tries", "quarantine") if key in line}
                self._facts.setdefault(line["status"], []).append(named)

    def event(self, name: str, /, **facts: object) -> None:
        """Append a line to events.jsonl; ``t`` is seconds since the run began."""
        line = {"t": round(clock.now() - self._began, 4), "event": name, **facts}
        text = json.dumps(line) + "\n"
        with self._lock:
            is_written = self._try(self.path / EVENTS, lambda path: artifacts.append(path, text))
            if self._read < 0 or not is_written:
                self._take(line)
        if clock.now() - self._saved > SAVE_EVERY:
            self.save()

    def timed(self, stage: str, of: str) -> Callable[[], None]:
        """Begin a span; call what this returns to end it."""
        began = clock.now()

        def end() -> None:
            span = Span(stage, of, round(began - self._began, 4), round(clock.now() - began, 4))
            self.event("span", **asdict(span))

        return end

    def note(self, key: str, value: object) -> None:
        """Put a fact into run.json."""
        with self._lock:
            self._facts[key] = value
        self.save()

    def image(self, name: str, id_: str, **facts: object) -> None:
        """Note which image a name stood for, and what is known of it and of the service that runs it."""
        self.event("image", name=name, id=id_, **facts)

    def log_range(self, service: str, log: Path, start: int, end: int | None = None) -> None:
        """Note which bytes of a service's log belong to this run; a log elsewhere is linked into the folder."""
        link = self.path / "services" / log.name
        if link != log:
            self._try(link, lambda path: _link(path, log))
        self.event("log", service=service, log=f"services/{log.name}", start=start, end=end)

    def outcome(self, outcome: Outcome) -> None:
        """Take the outcome of a test."""
        self._outcomes.append(outcome)
        why: dict[str, object] = {"reason": outcome.message} if outcome.status in ("xfailed", *_NAMED) else {}
        why |= {"tries": outcome.tries} if outcome.tries > 1 else {}
        why |= {"quarantine": dict(outcome.quarantine)} if outcome.quarantine else {}
        self.event("test", test=outcome.test, status=outcome.status, seconds=round(outcome.seconds, 4), **why)

    def residue(self, test: str, thing: Mapping[str, str]) -> None:
        """Note something that a test left."""
        self.event("residue", test=test, **thing)

    def evidence(self, test: str, name: str, data: bytes) -> None:
        """Write a file of evidence into the folder of a failed test. Equally named tests elsewhere have others."""
        self._try(folder_of_failure(self.path, test) / name, lambda path: _write_whole(path, data))

    def read_evidence(self, test: str, name: str) -> str:
        """Return a file of evidence, which another process may have written; "" for none."""
        with suppress(OSError):
            return (self.path / "failures" / _folder_name(test) / name).read_text(encoding="utf-8", errors="replace")
        return ""

    def finish(self, code: int) -> None:
        """Write the last state, what the time went into, and junit.xml."""
        times = self.note_time()
        self._try(self.path / "junit.xml", lambda path: write_junit(path, self._outcomes, times))
        self.note("exit_code", code)

    def note_time(self) -> dict[str, float]:
        """Put what the time went into until now into run.json, and return it."""
        self.save()  # which has the spans of all processes
        times = times_of(self._facts["spans"], clock.now() - self._began).as_dict()
        self.note("time", times)
        return times


class WorkerFolder(RunFolder):
    """The folder of a run as one of several processes writes it: facts become events, run.json is left alone."""

    def __init__(self, path: Path, began: float) -> None:
        self._begin(path, {"spans": [], "outcomes": {}, "services": {}}, began)

    def save(self) -> None:
        """Leave it to the process that sums up."""


def _link(path: Path, to: Path) -> None:
    with suppress(FileExistsError):  # another worker was there first
        path.symlink_to(to)


def _write_whole(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError:
        with suppress(OSError):  # a part would pass for all of it
            path.unlink()
        raise


def folder_of_failure(run: Path, test: str) -> Path:
    """Return where the evidence of a failed test is, in the folder of its run."""
    return run / "failures" / _folder_name(test)


def _folder_name(test: str) -> str:
    """Return a node id as one word; where that loses something, a few digits of its digest tell it from others."""
    dotted = test.replace("::", ".").replace("/", ".")
    name = re.sub(r"[^\w.\-\[\]]+", "_", dotted)[-150:]
    return name if name == dotted else f"{name}-{hashlib.sha256(test.encode()).hexdigest()[:6]}"


_XML_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return ``text`` with a ? for each character that no XML may have."""
    return _XML_FORBIDDEN.sub("?", text)


def write_document(document: JUnitXml, path: Path) -> None:
    """Write a JUnit document: all of it, or nothing. Raises OSError."""
    scratch = path.with_name(f".{path.name}")
    try:
        document.write(str(scratch))
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise


def quarantined(quarantine: Mapping[str, str]) -> str:
    """Return what is said of the failure of a test in quarantine, before its error."""
    return f"in quarantine ({quarantine['owner']}, until {quarantine['expires']}: {quarantine['reason']}): "


def _add_properties(case: TestCase, values: Sequence[tuple[str, str]]) -> None:
    from junitparser import Properties, Property  # noqa: PLC0415 - at the end only

    if values:
        properties = Properties()  # type: ignore[no-untyped-call]
        for name, value in values:
            properties.add_property(Property(name, xml_text(value)))
        case.append(properties)  # type: ignore[no-untyped-call]


def write_junit(path: Path, outcomes: Sequence[Outcome], times: Mapping[str, float] | None = None) -> None:
    """Write ``outcomes`` as JUnit XML: failed tests as failures, broken ones as errors with the type of the fault.

    Flaky tests have the elements ``flakyFailure`` that Maven's Surefire writes, and those in quarantine are skipped.
    What the run's time went into becomes properties of the suite, in seconds.
    """
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite  # noqa: PLC0415 - at the end only
    from junitparser.xunit2 import FlakyFailure  # noqa: PLC0415 - as above

    suite = TestSuite("harness")
    for name, seconds in (times or {}).items():
        suite.add_property(f"harness.time.{name}", f"{seconds:.3f}")
    for outcome in outcomes:
        file, _, name = outcome.test.partition("::")
        folder = file.removesuffix(".py").replace("/", ".")
        case = TestCase(xml_text(name or file), classname=xml_text(folder), time=outcome.seconds)
        kinds = {"failed": Failure, "broken": Error, "skipped": Skipped, "xfailed": Skipped, "quarantined": Skipped}
        if outcome.status in kinds:
            held = quarantined(outcome.quarantine) if outcome.quarantine else ""
            kind = Error if outcome.kind == Residue.__name__ else kinds[outcome.status]
            result = kind(xml_text(f"{held}{outcome.message}"), xml_text(outcome.kind))
            result.text = xml_text(outcome.text)
            case.result = [result]
        if outcome.status == "flaky":
            flaky = FlakyFailure(xml_text(outcome.message), xml_text(outcome.kind))
            flaky.text = xml_text(outcome.text)
            case.append(flaky)  # type: ignore[no-untyped-call]
        status = {"status": outcome.status} if outcome.status in _NAMED else {}
        tries = {"tries": str(outcome.tries)} if outcome.tries > 1 else {}
        _add_properties(case, [*status.items(), *tries.items(), *(("residue", line) for line in outcome.residue)])
        left = [("what it left", "\n".join(outcome.residue))] if outcome.residue else []
        if sections := [*outcome.sections, *left]:
            case.system_out = "\n".join(xml_text(f"--- {title} ---\n{text}") for title, text in sections)
        suite.append(case)  # type: ignore[no-untyped-call] # add_testcase() counts all of them each time
    suite.update_statistics()  # type: ignore[no-untyped-call] # a suite of no tests has counts as well
    document = JUnitXml()
    document.add_testsuite(suite)
    write_document(document, path)
