"""The files of a matrix's report: which events a page holds, and what is looked up in the cells' folders."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matrix_sample

from harness.matrix.verdicts import Verdict
from harness.reporting.interop import files
from harness.reporting.interop.excerpts import MOST_CONTROL, excerpt_of
from harness.reporting.interop.files import excerpts_of, within, write_report
from harness.reporting.interop.page import page
from harness.reporting.interop.report import Report, read_report, summed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def log_of(path: Path, *events: dict[str, Any] | str) -> Path:
    """Write a log of events; a text is a line as it is."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def event(ty: str, ro: str = "driver", ti: int = 1000, **info: object) -> dict[str, Any]:
    return {"id": 1, "ty": ty, "ti": ti, "ro": ro, "in": info}


def places(excerpt: Any) -> list[int]:
    return [row[0] for row in excerpt.rows]


def test_events_around_the_deciding_one_are_shown_and_all_that_steer(tmp_path: Path) -> None:
    """Of a long log those around the event that decided must be kept, and ready, done and asserts wherever they are."""
    events = [event("trace", n=n) for n in range(1000)]
    events[3], events[990] = event("ready", "worker"), event("exited", exit_code=1)
    events[5] = event("runner.malformed", why="no JSON")
    excerpt = excerpt_of(log_of(tmp_path / "e", *events), 500, most=30)
    assert places(excerpt) == [3, 5, *range(480, 510), 990]
    assert (excerpt.total, excerpt.deciding) == (1000, events[500])
    assert excerpt.lanes == ("", "worker", "driver")


def test_without_a_deciding_event_both_ends_are_shown(tmp_path: Path) -> None:
    """Of a cell that nothing decided the first and the last events must be kept."""
    log = log_of(tmp_path / "e", *(event("trace") for _ in range(100)))
    assert places(excerpt_of(log, None, most=10)) == [*range(5), *range(95, 100)]
    assert places(excerpt_of(log, 100, most=10)) == [*range(5), *range(95, 100)]
    assert excerpt_of(log, None).deciding is None


def test_a_flood_of_asserts_is_bounded(tmp_path: Path) -> None:
    """A process that sends any number of asserts must not make the page any size."""
    log = log_of(tmp_path / "e", *(event("assert", value=1) for _ in range(5000)))
    assert len(excerpt_of(log, 0, most=10).rows) == MOST_CONTROL + 10


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    """A log that was cut or written over must be read as far as it can be, with the places that its lines have."""
    odd = [
        '{"ty": "rea',
        "[1]",
        '{"ti": 5}',
        '{"ty": "ready", "ti": "x"}',
        "\udcff".encode("utf-8", "replace").decode(),
    ]
    excerpt = excerpt_of(log_of(tmp_path / "e", *odd, event("ready")), 2)
    assert (places(excerpt), excerpt.total, excerpt.deciding) == ([5], 6, None)
    assert excerpt_of(tmp_path / "none", 1).rows == ()


def test_what_belongs_to_an_event_is_cut(tmp_path: Path) -> None:
    """A line of a log must be shown as it is, up to a length that is told."""
    log = log_of(tmp_path / "e", event("log", line="x" * 5000), event("log", line="ok", stream="stderr"), event("done"))
    said = [row[4] for row in excerpt_of(log, None, longest=10).rows]
    assert said == ["xxxxxxxxxx ... (5000 characters)", 'ok  {"stre ... (23 characters)', ""]


def test_a_report_is_written_with_what_its_cells_left(tmp_path: Path) -> None:
    """All three files must be written, and have the deciding event and the evidence of each cell."""
    cell = matrix_sample.cell("t", "a", "b", "failed")
    matrix_sample.write_evidence(tmp_path, report := summed(Report("m", "r", "embedded", (cell,))))
    (tmp_path / cell.folder / "logs" / "worker").mkdir(parents=True)
    (tmp_path / cell.folder / "logs" / "worker" / "trace").write_text("x")
    (tmp_path / cell.folder / "repro.sh").write_text("x")
    written = write_report(tmp_path, report)
    assert {entry.name for entry in tmp_path.iterdir()} == {"cells", "report.json", "junit.xml", "index.html"}
    assert read_report(tmp_path) == written
    (told,) = written.cells
    assert told.evidence == ("events.jsonl", "repro.sh", "logs/worker/trace")
    assert told.deciding == list(matrix_sample.events_of(cell))[41]


def test_a_report_whose_evidence_is_gone_is_written(tmp_path: Path) -> None:
    """Cells whose folders were removed must be reported all the same."""
    written = write_report(tmp_path, matrix_sample.report())
    assert [cell.evidence for cell in written.cells] == [()] * 36
    assert (tmp_path / "index.html").stat().st_size > 10_000


def test_a_page_that_would_be_too_large_drops_what_went_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of unexpected cells must be kept before those of others, and the page say that some are missing."""
    good = [matrix_sample.cell("t", "a", str(i), "succeeded") for i in range(9)]
    bad = matrix_sample.cell("t", "b", "z", "failed")
    report = summed(Report("m", "r", "embedded", (*good, bad)))
    matrix_sample.write_evidence(tmp_path, report)
    excerpts = excerpts_of(tmp_path, report)
    assert next(iter(within(10_000, report, excerpts))) == bad.id
    assert len(within(10_000, report, excerpts)) < 5
    assert list(within(1, report, excerpts)) == [bad.id]
    monkeypatch.setattr(files, "BUDGET", 1)
    write_report(tmp_path, report)
    assert "the events of 9 cells that went as expected are not in this page" in (tmp_path / "index.html").read_text()


def test_nothing_in_a_page_ends_its_scripts(tmp_path: Path) -> None:
    """Whatever a report holds, the page must have as many scripts as its frame, and ask nobody for anything."""
    nasty = "</script><!--<script>@SCRIPT@\u2028\ud800"
    cell = replace(matrix_sample.cell("t", "a", "b", "failed"), verdict=Verdict("failed", reason=nasty))
    report = summed(Report(nasty, nasty, "embedded", (cell,), notes=(nasty,)))
    log = log_of(tmp_path / "e", event("log", line="</script>@EVENTS@"))
    text = page(report, {cell.id: excerpt_of(log, 0)}, against=report)
    assert (text.count("</script"), text.count("<!--")) == (4, 0)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", text)
    embedded = re.search(r'id="report">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1])["notes"] == [nasty.replace("\ud800", "?")]
