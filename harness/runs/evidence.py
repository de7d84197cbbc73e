"""What explains a failure: how a service ended, and the part of every log that was written while a test ran."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.errors import BrokenStack, HarnessError
from harness.interrupts import Interrupted
from harness.last_words import LOOKED_AT, last_line
from harness.readiness.reasons import Seen, Variables, why_not_ready
from harness.runs.deaths import died

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.keeper.messages import ServiceFacts
    from harness.readiness import Waited
    from harness.reporting import RunFolder
    from harness.runs.environment import Environment
    from harness.runs.planning import Planned
    from harness.runs.probing import Probing
    from harness.stack import Service, Tree


SHOWN_LINES = 40
LONGEST_BLOCK = 60  # lines, of what is looked for again
WORTH_IT = 3  # lines that are left out at least where a block is
_COLOURS = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]")  # "Control sequences" in ECMA-48
_TIMES = re.compile(r"\d{4}-\d\d-\d\d|\d\d/[A-Z][a-z]{2}/\d{4}|\d\d:\d\d:\d\d(?:[.,]\d+)?")


@dataclass(frozen=True)
class Mark:
    """Where every service log stood at some moment: path -> size."""

    sizes: Mapping[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """Where the logs stood in the course of a test.

    Attributes:
        begin: when its set-up began.
        body: when its own code began, None when it did not.
        end: when that had ended, None before.
    """

    begin: Mark
    body: Mark | None = None
    end: Mark | None = None


@dataclass(frozen=True)
class Noise:
    """What does not belong in a report.

    Attributes:
        others: logs of services that the test does not use.
        probes: log -> what a line of it looks like that one of our probes has caused.
    """

    others: Collection[Path] = ()
    probes: Mapping[Path, re.Pattern[str]] = field(default_factory=dict)


def request_for(paths: Collection[str]) -> re.Pattern[str]:
    """Return what a line about a GET request for one of ``paths`` looks like in an access log."""
    either = "|".join(re.escape(path) for path in paths)
    return re.compile(rf"""\bGET\b[^/]*(?:{either})(?=["'\s?,;]|$)""")


def _logs(environment: Environment) -> list[Path]:
    return sorted((environment.folder / "services").glob("*.log"))


def mark(environment: Environment) -> Mark:
    """Note where the logs stand now."""
    return Mark({path: artifacts.file_size(path) for path in _logs(environment)})


def save_evidence(environment: Environment, test: str, marks: Marks, noise: Noise) -> dict[str, str]:
    """Write what each log got since a test began, byte for byte, to ``failures/<test>/<service>.log``.

    A log that was there before this run took its stack begins there. Of much it is the first and the last part
    (``artifacts.read_log``). Return service -> its last lines for a report, without noise; services that wrote nothing
    are left out.
    """
    parts: dict[str, str] = {}
    for path in _logs(environment):
        start = marks.begin.sizes.get(path, environment.lives.taken.get(path, 0))
        if path in noise.others or not (data := artifacts.read_log(path, start)):
            continue
        environment.report.evidence(test, path.name, data)
        if text := shown(_without_probes(path, data, start, marks, noise)):
            parts[path.stem] = text
    return parts


def _without_probes(path: Path, data: bytes, start: int, marks: Marks, noise: Noise) -> bytes:
    """Return a slice without the lines of our probes: these are asked before a test's body, and after it."""
    request = noise.probes.get(path)
    if request is None or len(data) > artifacts.FIRST_BYTES:
        return data
    body = marks.body.sizes.get(path, start) - start if marks.body else len(data)
    end = max(body, marks.end.sizes.get(path, start) - start) if marks.end else len(data)

    def quiet(part: bytes) -> bytes:
        lines = part.splitlines(keepends=True)
        return b"".join(line for line in lines if not request.search(line.decode(errors="replace")))

    return quiet(data[:body]) + data[body:end] + quiet(data[end:])


def save_testimony(environment: Environment, test: str, heard: Mapping[str, str]) -> None:
    """Write what clients saw (subject -> text) to ``failures/<test>/<subject>.txt``."""
    for subject, text in heard.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", subject)
        environment.report.evidence(test, f"{name}.txt", f"{text}\n".encode())


def shown(data: bytes) -> str:
    """Return the last lines of a slice for a report: without colours, and a block that is repeated only once."""
    last = _COLOURS.sub(b"", data[-artifacts.TAIL_BYTES :])
    lines = _once(artifacts.printable(last).splitlines())
    whole = len(data) <= artifacts.TAIL_BYTES
    dropped = max(0, len(lines) - SHOWN_LINES)
    if not whole:
        dropped += data[: -artifacts.TAIL_BYTES].count(b"\n")
    return (f"... {dropped} earlier lines\n" if dropped else "") + "\n".join(lines[-SHOWN_LINES:])


def _once(lines: list[str]) -> list[str]:
    """Return lines in which a block that follows itself, but for its times, stands once, and how often it came."""
    alike = [_TIMES.sub("#", line) for line in lines]
    kept: list[str] = []
    at = 0
    while at < len(lines):
        size, again = _repeated(alike, at)
        kept += lines[at : at + size]
        if again:
            block = "line" if size == 1 else f"{size} lines"
            kept.append(f"... the last {block} came {again} more time{'s' if again > 1 else ''}")
        at += size * (again + 1)
    return kept


def _repeated(alike: list[str], at: int) -> tuple[int, int]:
    """Return the size of the shortest block at ``at`` that follows itself, and how often it does; else (1, 0)."""
    for size in range(1, min(LONGEST_BLOCK, (len(alike) - at) // 2) + 1):
        if alike[at] != alike[at + size]:
            continue
        block, again = alike[at : at + size], 0
        while alike[at + size * (again + 1) : at + size * (again + 2)] == block:
            again += 1
        if size * again >= WORTH_IT:
            return size, again
    return 1, 0


# -- why a service, or a run, ended -----------------------------------------------------------------------------


def note_failure(report: RunFolder, error: BaseException) -> None:
    """Write into a run's folder why it fails, where that is known, and the exit code that it gets."""
    code = 128 + error.number if isinstance(error, Interrupted) else None
    if isinstance(error, HarnessError):
        code = error.exit_code
    if code is not None:
        with suppress(OSError):
            report.note("reason", str(error))
            report.note("exit_code", code)


def died_in(planned: Planned, facts: ServiceFacts, when: str = "before its stack was settled") -> BrokenStack:
    """Return the error for a service of a stack, or of one that it stands on, that ended on its way up."""
    tree = planned.tree
    stack = tree.stack(facts["stack"])
    service = stack.service(facts["service"])
    assert service is not None  # it was started for that stack
    error = died(planned.environment, facts, when, variables_of(service, tree, stack.name))
    if facts["exit_code"] == 0:
        error.hint = "one that is meant to end has `x-harness: {role: oneshot}`; others stay in the foreground"
    error.details = (*error.details, *stack.notes)  # what it was not given may be why
    return error


def not_done(probing: Probing, name: str, seconds: float) -> BrokenStack:
    """Return the error for a one-shot service that did not end in time."""
    log, log_start = probing.logs[name]
    lines = artifacts.last_lines(log, 10, log_start)
    said = f"it wrote last {last_line(lines)!r}" if lines else "it wrote nothing"
    return BrokenStack(
        f"One-shot service {name!r} did not end in {seconds:g} s: {said} ({probing.planned.environment.show(log)})",
        service=name,
        details=[f"  {line}" for line in lines],
    )


def not_ready(probing: Probing, name: str, waited: Waited) -> BrokenStack:
    """Return the error for a service whose probes did not hold in time."""
    planned = probing.planned
    environment, plan = planned.environment, planned.plans[name]
    log, _ = probing.logs.get(name, (None, 0))
    seen = _look(probing, name, waited)
    reason = why_not_ready(seen)
    guessed = not planned.service(name).settings.ready and not plan.has_health
    advice = "a healthcheck, or x-harness.ready, says better when it is ready than its ports; " if guessed else ""
    checks = [f"  {line}" for line in seen.checks] if seen.kind == "healthy" else []
    return BrokenStack(
        f"Service {name!r} did not settle in {waited.seconds:.1f} s: "
        f"{reason.sentence} ({environment.show(log) if log else 'attached'})",
        service=name,
        details=[
            f"probe: {waited.probe}",
            *(f"  seen after {line}" for line in waited.history),
            *(["last healthchecks:", *checks] if checks else []),
            *(["last lines of its log:"] if log else []),
            *([f"  {line}" for line in seen.log[-10:]] or (["  it wrote nothing"] if log else [])),
        ],
        hint=reason.hint or ("" if waited.hopeless else f"{advice}a longer time is given by {_longer(planned)}"),
    )


def _look(probing: Probing, name: str, waited: Waited) -> Seen:
    """Look at a service whose probes did not hold in time."""
    planned = probing.planned
    plan, service = planned.plans[name], planned.service(name)
    log, log_start = probing.logs.get(name, (None, 0))
    port = waited.port or probing.own_broker(name, waited)
    at = plan.endpoint(port) if port else None
    kind = waited.probe.partition(" ")[0]
    # Its log is complete when the engine was asked.
    container = planned.environment.explain(planned.stack.name, name, ask=kind == "healthy")
    return Seen(
        kind=kind,
        observation=waited.observation,
        history=waited.history,
        host=at.host if at else "",
        port=(at.right if plan.contained else at.port) if at else None,
        listening=probing.host(name).listening(probing.around.facts.get(name, {})) if at else None,
        contained=plan.contained,
        log=tuple(artifacts.last_lines(log, LOOKED_AT, log_start)) if log else (),
        checks=tuple(container.get("health_log", ())),
        variables=variables_of(service, planned.tree, planned.stack.name),
    )


def _longer(planned: Planned) -> str:
    settings = planned.environment.settings
    if settings.wait_timeout:
        return f"wait-timeout ({settings.origins['wait_timeout']})"
    return f"x-harness.timeouts.ready in {planned.stack.files[0].name}"


def variables_of(service: Service, tree: Tree, stack: str) -> Variables:
    """Return what a service of ``stack`` was told about others, from its file."""
    process = service.process
    added = {key: str(value) for key, value in (process.environment if process else {}).items()}
    words = [*_words(service.compose.get("command")), *(process.command if process else ())]
    others = {service.name, *_own_names(service.compose)}
    for _, other in tree.visible(stack).values():
        others |= _own_names(other.compose)
    return Variables(
        texts={**service.environment, **added, "its command": " ".join(words)},
        services=frozenset(tree.visible(stack)) - {service.name},
        others=frozenset(others),
    )


def _words(command: object) -> list[str]:
    return [str(word) for word in command] if isinstance(command, list) else [str(command or "")]


def _own_names(table: Mapping[str, Any]) -> set[str]:
    """Return further names of a service on its networks, and those that it gives to others for itself."""
    names = {str(table[key]) for key in ("hostname", "container_name") if table.get(key)}
    for network in (table.get("networks") or {}).values():
        names.update((network or {}).get("aliases") or ())
    for key in ("extra_hosts", "links"):
        names.update(
            str(entry).replace("=", ":").rpartition(":")[0 if key == "extra_hosts" else 2]
            for entry in table.get(key) or ()
        )
    return names
