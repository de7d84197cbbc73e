"""Reports of matrices that never ran, with their evidence: as large as is asked for, and always the same."""

from __future__ import annotations

import json
import random
import zlib
from typing import TYPE_CHECKING, Any

from harness.matrix.verdicts import Status, Verdict
from harness.reporting.interop.report import (
    Bounds,
    CellReport,
    Expectation,
    Finding,
    ImplementationReport,
    Report,
    TestReport,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = ["sanity", "net-link", "channel-reliable", "channel-unreliable", "close-codes", "echo-binary-1M", "fragments"]
NAMES = ["node", "python", "go", "rust", "java", "libwebsockets-test-server", "wsproto", "autobahn", "tornado"]
BEGAN = 1_790_000_000.0
_ENDS: list[tuple[Status, int]] = [
    ("succeeded", 80),
    ("failed", 6),
    ("unsupported", 5),
    ("timeout", 3),
    ("crashed", 2),
    ("broken", 1),
    ("skipped", 2),
    ("flaky", 1),
]


def names(count: int, of: list[str]) -> list[str]:
    """Return as many names, made of some."""
    return [of[i] if i < len(of) else f"{of[i % len(of)]}-{i // len(of) + 1}" for i in range(count)]


def verdict_of(status: Status, worker: str, driver: str) -> Verdict:
    """Return a verdict as a judge would give it."""
    match status:
        case "failed":
            return Verdict("failed", "role", "driver", driver, "the driver exited with 3 before it was done", 41)
        case "timeout":
            return Verdict("timeout", "role", "worker", worker, "the worker was not ready after 60.0 s", 38)
        case "crashed":
            return Verdict("crashed", "role", "worker", worker, "the worker was ended by SIGSEGV (core dumped)", 33)
        case "unsupported":
            return Verdict("unsupported", "", "worker", worker, "exit 127 before ready, confirmed by a probe", 4)
        case "broken":
            return Verdict(
                "broken", "engine", reason="the engine could not create a network: no address is left", event=0
            )
        case "skipped":
            return Verdict("skipped", reason=f"{worker} does not provide it")
        case "flaky":
            return Verdict("flaky", "role", "driver", driver, "failed, then succeeded", 41)
    return Verdict(status)


def cell(test: str, worker: str, driver: str, status: Status, *, expected: bool | None = None) -> CellReport:
    """Return a cell that ended in some way; unless said otherwise, all but success and what cannot be is unexpected."""
    is_fine = status in ("succeeded", "unsupported", "skipped")
    is_expected = is_fine if expected is None else expected
    expectation = Expectation()
    if is_expected != is_fine:
        statuses = ("failed", "timeout") if is_fine else (status,)
        expectation = Expectation(statuses, "upstream issue 12 <script>alert(1)</script>", "2027-01-31", None, True)  # noqa: FBT003
    verdict = verdict_of(status, worker, driver)
    id_ = f"{test}/{worker}/{driver}"
    ran = status != "skipped"
    return CellReport(
        id=id_,
        test=test,
        worker=worker,
        driver=driver,
        seed=len(id_) * 7919,
        digest=f"{zlib.crc32(id_.encode()):08x}",
        verdict=verdict,
        expectation=expectation,
        is_expected=is_expected,
        is_unexpected_pass=status == "succeeded" and not is_expected,
        attempts=(Verdict("failed", "role", "driver", driver, "exit 3"), verdict) if status == "flaky" else (verdict,),
        began=BEGAN,
        seconds=1.25 if ran else 0.0,
        cpu=0.4,
        spans={"create": 0.05, "ready": 0.4, "run": 0.6, "end": 0.1, "collect": 0.1} if ran else {},
        exits={"worker": 0, "driver": 3 if status == "failed" else 0} if ran else {},
        folder=f"cells/{id_}" if ran else "",
        evidence=("events.jsonl", "worker.log", "driver.log", "verdict.json", "repro.sh") if ran else (),
    )


def report(
    tests: int = 4, workers: int = 3, drivers: int = 3, seed: int = 1, run: str = "20261129-200000-sample"
) -> Report:
    """Return a report of so many tests, workers and drivers."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    statuses, weights = zip(*_ENDS, strict=True)
    cells = []
    for test in names(tests, TESTS):
        for worker in names(workers, NAMES):
            for driver in names(drivers, NAMES):
                status = dice.choices(statuses, weights)[0]
                turned = dice.random() < (0.02 if status == "succeeded" else 0.3)
                is_fine = status in ("succeeded", "unsupported", "skipped")
                cells.append(cell(test, worker, driver, status, expected=is_fine != turned))
    bounds = {"slots": len(cells) * 1.25 / 4, "longest": 1.25, "cpu": len(cells) * 0.4 / 2, "engine": len(cells) * 0.05}
    found = Finding("driver", "go", "go fails fragments as driver against every worker", tuple(c.id for c in cells[:3]))
    return summed(
        Report(
            matrix="telehash",
            run=run,
            engine="compose",
            engine_version="27.3",
            plan="9f2c" * 16,
            seed=7,
            slots=4,
            began=BEGAN,
            seconds=bounds["slots"] * 1.06 + 3,
            exit_code=1,
            bounds=Bounds.of(bounds, bounds["slots"] * 1.06),
            implementations=tuple(
                ImplementationReport(name, "build", "0.4.18", f"sha256:{i:064x}")
                for i, name in enumerate(names(max(workers, drivers), NAMES))
            ),
            tests=tuple(TestReport(name, f"# `{name}` A test.\n\n* It ends.") for name in names(tests, TESTS)),
            findings=(found,),
            notes=("unknown keys in the header of sanity: colour",),
            cells=tuple(cells),
        )
    )


def events_of(cell: CellReport, count: int = 50) -> Iterator[dict[str, Any]]:
    """Yield the events of a cell's log."""
    began = int(cell.began * 1000)
    yield {"id": 1, "ty": "exec", "ti": began, "ro": "", "in": {"worker": cell.worker, "driver": cell.driver}}
    for i in range(1, count - 3):
        role = ("worker", "driver")[i % 2]
        known: dict[int, tuple[str, dict[str, Any]]] = {
            3: ("ready", {}),
            4: ("ready", {}),
            9: ("assert", {"assert_id": "hashname", "value": "p7" * 12}),
            10: ("assert", {"assert_id": "hashname", "value": "p7" * 12}),
        }
        ty, info = known.get(i, ("channel.rcv.packet", {"channel_id": 1, "packet_id": i, "packet": {"body": "x" * 24}}))
        if i % 5 == 0:
            ty, info = "log", {"line": f"</script><b>packet {i} & done"}
        yield {"id": i, "ty": ty, "ti": began + 60 + i * 12, "ro": role, "in": info}
    code = 3 if cell.status == "failed" else 0
    yield {"id": 2, "ty": "exited", "ti": began + 1200, "ro": "driver", "in": {"exit_code": code}}
    yield {"id": 3, "ty": "exited", "ti": began + 1220, "ro": "worker", "in": {"exit_code": 0}}
    yield {"id": 4, "ty": "status", "ti": began + 1240, "ro": "", "in": {"success": cell.status == "succeeded"}}


def write_evidence(folder: Path, report: Report, count: int = 50) -> None:
    """Write what the cells of a report left into the run's folder."""
    for cell in report.cells:
        if cell.folder:
            (folder / cell.folder).mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(event) + "\n" for event in events_of(cell, count))
            (folder / cell.folder / "events.jsonl").write_text("".join(lines))
