"""A run of real cells that is killed at any moment goes on, and comes to what an undisturbed one does."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import toy_matrix
from bench.matrix_kills import BUDGET, MatrixField, campaign
from harness import procs
from harness.clock import Deadline, poll
from harness.errors import ConfigError
from harness.matrix.budgets import Budgets
from harness.matrix.past import History
from harness.matrix.planning import plan, write_plan
from harness.runs.interop.earlier import find_run, held, name_latest

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS, SEED = 5, 20


def test_a_run_that_is_killed_again_and_again_finds_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    """Whoever is killed, the run or its keeper, nothing is left, and the last report is that of an undisturbed run."""
    shots = campaign(MatrixField(tmp_path, "embedded"), KILLS, SEED)
    assert not [shot for shot in shots if shot.left or shot.differences]


def test_three_shards_one_of_them_interrupted_are_one_run(tmp_path: Path) -> None:
    """Shards of real cells, merged, must be the run that was not divided, with evidence that is shown and judged."""
    place = MatrixField(tmp_path, "embedded")
    place.finish()
    whole = toy_matrix.essence(one) if (one := place.report()) else {}
    parts: list[str] = []
    for number in (1, 2, 3):
        run = place.begin("--shard", f"{number}/3")
        if number == 1:
            for _ in poll(Deadline.after(BUDGET)):
                if run.poll() is not None or "done and exited" in place.said():
                    break
            run.send_signal(signal.SIGINT)
            assert run.wait(BUDGET) == -signal.SIGINT
            assert "--resume 2" in place.said()
            place.resumes = True
            run = place.begin()
            place.resumes = False
        assert run.wait(BUDGET) in (0, 1), place.said()
        parts += ["--part", str(place.folder())]
    assert (done := _harness(place, "merge", *parts, "--into", "logs/merged")).code == 1, done.stderr
    merged = place.root / "logs" / "merged"
    report = json.loads((merged / "report.json").read_text())
    assert toy_matrix.differences(whole, toy_matrix.essence(merged / "report.json")) == []
    for cell in report["cells"]:
        assert not cell["folder"] or (merged / cell["folder"] / "events.jsonl").is_file()
    failed = next(cell for cell in report["cells"] if cell["verdict"]["status"] == "failed")
    looked = json.loads(_harness(place, "inspect", str(merged), "--cell", failed["id"], "--json").stdout)
    deciding = [event for event in looked["events"] if event["place"] == failed["verdict"]["event"]]
    assert [event["ty"] for event in deciding] == ["assert-failed"]
    assert (Path(looked["folder"]) / "driver.log").is_file()
    judged = _harness(place, "judge", "--run", str(merged))
    assert judged.code == 1
    assert f"of {merged.name}, none changed" in judged.stdout, judged.stdout + judged.stderr
    assert not place.left()


def _harness(place: MatrixField, task: str, *words: str) -> procs.Finished:
    argv = [str(Path(sys.executable).with_name("harness")), f"interop.{task}", *words]
    return procs.run(argv, timeout=BUDGET, env=place.environ, cwd=place.root)


# -- which run goes on -----------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a run: of a matrix with a plan, of one that was ended before, or of something else."""

    def make(name: str, *, planned: str = "", begun: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"run": name} | ({"matrix": begun} if begun else {})))
        if planned:
            (folder / "plan.json").write_text(write_plan(plan((), History(), Budgets(2, 2.0), "embedded", planned)))
        name_latest(folder, tmp_path)
        return folder

    return make


def test_the_latest_run_is_the_one_that_went_on_not_who_went_on_with_it(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    """A command that goes on with a run has a folder without a plan; killed at once, it must not be taken for a run."""
    run = make("20260101-000000-00000001", planned="m", begun="m")
    make("20260101-000001-00000002")
    assert find_run(tmp_path, "latest", "m") == find_run(tmp_path, "latest") == run
    name_latest(run, tmp_path)
    assert (tmp_path / "latest").resolve() == run


def test_the_latest_run_is_one_of_the_matrix_that_is_asked_for(tmp_path: Path, make: Callable[..., Path]) -> None:
    """A later run of another matrix must not be taken for it."""
    run = make("20260101-000000-00000001", planned="m", begun="m")
    other = make("20260101-000001-00000002", planned="n", begun="n")
    make("20260101-000002-00000003", begun="n")
    assert find_run(tmp_path, "latest", "m") == run
    assert find_run(tmp_path, other.name, "m") == other


def test_a_run_that_was_ended_before_its_plan_is_not_passed_over(tmp_path: Path, make: Callable[..., Path]) -> None:
    """Going on with an older run instead of the latest must not happen unsaid."""
    make("20260101-000000-00000001", planned="m", begun="m")
    make("20260101-000001-00000002", begun="m")
    for matrix in ("m", ""):
        with pytest.raises(ConfigError, match="000002 was ended before its plan was written"):
            find_run(tmp_path, "latest", matrix)


def test_no_run_is_told(tmp_path: Path) -> None:
    """Where there is no run, and where there are no runs at all, that must be said."""
    for logs in (tmp_path, tmp_path / "logs"):
        with pytest.raises(ConfigError, match="There is no run of matrix m in"):
            find_run(logs, "latest", "m")
    with pytest.raises(ConfigError, match="Run 'x' is not known"):
        find_run(tmp_path, "x", "m")


def test_a_run_that_has_gone_is_not_held(tmp_path: Path) -> None:
    """A folder that was pruned between its being found and its being held must be told of."""
    with pytest.raises(ConfigError, match="cannot be gone on with"), held(tmp_path / "gone"):
        pass
