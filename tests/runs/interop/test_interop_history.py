"""What earlier runs found is kept, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from matrix_cells import cell

from harness.matrix.verdicts import Result, Status, Verdict
from harness.runs.interop import history
from harness.runs.interop.history import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "interop.toml", "embedded", {"XDG_CACHE_HOME": str(tmp_path / "cache")})


def result(name: str, seconds: float, status: Status = "succeeded", **more: str) -> Result:
    return Result(f"{name}/a/b", "d", Verdict(status), seconds=seconds, cpu=seconds / 2, **more)  # type: ignore[arg-type]


def test_what_a_run_found_is_known_to_the_next(shelf: Shelf) -> None:
    """Durations, processor time and how cells ended."""
    shelf.add([result("a", 4.0), result("b", 2.0, "failed")], "first")
    shelf.add([result("a", 6.0, "timeout")], "second")
    known = shelf.read()
    assert known.seconds(cell("a")) == 5.0
    assert known.cpu(cell("a")) == 2.5
    assert known.statuses("a/a/b", 20) == ("succeeded", "timeout")
    assert known.statuses("b/a/b", 20) == ("failed",)


def test_each_matrix_and_engine_has_its_own(tmp_path: Path, shelf: Shelf) -> None:
    """A cell takes another time elsewhere."""
    shelf.add([result("a", 4.0)], "r")
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert Shelf(tmp_path / "interop.toml", "compose", environ).read().seconds(cell("a")) == 1.0
    assert Shelf(tmp_path / "other" / "interop.toml", "embedded", environ).read().seconds(cell("a")) == 1.0


def test_what_was_not_run_is_not_kept(shelf: Shelf) -> None:
    """A result that was taken over would count twice in a pass rate."""
    shelf.add([result("a", 4.0, taken="earlier"), result("b", 4.0, "skipped")], "r")
    assert shelf.path is not None
    assert not shelf.path.exists()


@pytest.mark.parametrize("damage", [b"\0" * 50, b'{"cell": "a/a', b"[]\n", b'{"cell": 1, "status": "x"}\n', b"\xff\n"])
def test_damaged_lines_are_passed_over(shelf: Shelf, damage: bytes) -> None:
    """Before and after them everything is read, also where a writer was killed amid a line."""
    shelf.add([result("a", 4.0)], "r")
    assert shelf.path is not None
    with shelf.path.open("ab") as file:
        file.write(damage)
    shelf.add([result("b", 7.0)], "r")
    assert shelf.read().seconds(cell("a")) == 4.0
    assert shelf.read().seconds(cell("b")) == 7.0


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_is_as_good_as_empty(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    """And is never waited for."""
    assert shelf.path is not None
    if kind == "folder":
        shelf.path.mkdir()
    elif kind == "pipe":
        os.mkfifo(shelf.path)
    else:
        shelf.path.symlink_to(tmp_path / "elsewhere")
    shelf.add([result("a", 4.0)], "r")
    assert shelf.read().seconds(cell("a")) == 1.0
    assert not (tmp_path / "elsewhere").exists()


def test_nowhere_to_keep_it_is_no_fault() -> None:
    """A run must not end by it."""
    nowhere = Shelf(Path("/x/interop.toml"), "embedded", {})
    nowhere.add([result("a", 4.0)], "r")
    assert nowhere.read().seconds(cell("a")) == 1.0


def test_it_does_not_grow_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last results of each cell stay."""
    monkeypatch.setattr(history, "GROWN", 20_000)
    for number in range(60):
        shelf.add([result(name, float(number)) for name in ("a", "b", "c", "d")], f"r{number}")
    assert shelf.path is not None
    assert shelf.path.stat().st_size < 40_000
    assert shelf.read().seconds(cell("a")) == 57.0
    assert len(shelf.read().statuses("d/a/b", 999)) <= history.KEPT + 10
