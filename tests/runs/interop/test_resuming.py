"""A run that was killed goes on, a run after a change takes over what did not change, and shards become one run."""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import matrix_program
import pytest
from matrix_cells import cell
from matrix_program import COUNT, summary, the_plan

from harness import clock, procs
from harness.errors import ConfigError
from harness.matrix.budgets import Budgets
from harness.matrix.past import History, Past
from harness.matrix.planning import Plan, plan, write_plan
from harness.matrix.shards import Shard
from harness.matrix.verdicts import Result, Verdict
from harness.results.journal import NAME, Journal, read
from harness.runs.interop.division import divided
from harness.runs.interop.merging import merge, write_merged
from harness.runs.interop.resuming import PLAN, begin, planned, results_of, resume, since
from harness.runs.interop.scheduling import is_good

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.matrix.cells import Cell

WAIT = 60.0
BUDGETS = Budgets(2, 2.0)


def of(*cells: Cell, engine: str = "embedded", history: History | None = None) -> Plan:
    return plan(cells, history or History(), BUDGETS, engine, "m")


def result(each: Cell, status: str = "succeeded", **more: object) -> Result:
    made = Result(each.id, each.digest, Verdict(status), folder=f"cells/{each.id}")  # type: ignore[arg-type]
    return replace(made, **more)  # type: ignore[arg-type]


def ran(folder: Path, made: Plan, *results: Result) -> Path:
    """Make the folder of a run that has some results, and return it."""
    folder.mkdir()
    begun = begin(folder, made, print)
    begun.journal.add(*(each.as_dict() for each in results))
    begun.journal.close()
    for each in results:
        (folder / each.folder).mkdir(parents=True)
        (folder / each.folder / "events.jsonl").write_text(each.cell)
    return folder


# -- going on --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run that nobody kills comes to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return summary(matrix_program.run(folder, folder / "ended", the_plan(), 0.001))


def test_a_run_killed_ten_times_comes_to_what_an_undisturbed_one_does(tmp_path: Path, undisturbed: str) -> None:
    """At random moments, by KILL. What was in the journal when it was killed must not be run again."""
    folder, ended, chance = tmp_path / "run", tmp_path / "ended", random.Random()  # noqa: S311 - moments
    folder.mkdir()
    ended.touch()
    kills, known = 0, set[str]()
    while kills < 10:
        began = len(ended.read_text().split())
        process = procs.spawn([sys.executable, matrix_program.__file__, str(folder), str(ended)])
        # Now and then before anything is there, mostly amid cells: their number counts, not the time.
        wanted = began + chance.randrange(0, 6)
        for _ in clock.poll(clock.Deadline.after(WAIT)):
            if len(ended.read_text().split()) >= wanted:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait(WAIT) == -signal.SIGKILL, "it ended by itself"
        kills += 1
        begun_again = ended.read_text().split()[began:]
        assert not known & set(begun_again)
        if (folder / NAME).exists():
            known = set(read(folder / NAME).records)
    assert len(known) < COUNT
    assert summary(matrix_program.run(folder, ended, the_plan(), 0.001)) == undisturbed


def test_the_journal_and_the_folders_of_a_resumed_run_are_those_of_an_undisturbed_one(tmp_path: Path) -> None:
    """Each cell once, with evidence of the attempt that counts only."""
    cells = [cell("a"), cell("b")]
    folder = ran(tmp_path / "run", of(*cells), result(cells[0]))
    (folder / "cells/b/a/b").mkdir(parents=True)
    (folder / "cells/b/a/b/events.jsonl").write_text("half")
    begun = resume(folder, of(*cells), print)
    begun.journal.close()
    assert begun.done == {"a/a/b": result(cells[0])}
    assert (folder / "cells/a/a/b/events.jsonl").read_text() == "a/a/b"
    assert not (folder / "cells/b/a/b").exists()


def test_a_run_killed_before_its_journal_was_there_begins(tmp_path: Path) -> None:
    """Its plan is written first."""
    (tmp_path / PLAN).write_text(write_plan(of(cell("a"))))
    begun = resume(tmp_path, of(cell("a")), print)
    begun.journal.close()
    assert begun.done == {}
    assert read(tmp_path / NAME).header.plan == of(cell("a")).hash


def test_a_torn_result_is_told_and_its_cell_is_run_again(tmp_path: Path) -> None:
    """Half a line is no result."""
    cells = [cell("a"), cell("b")]
    folder = ran(tmp_path / "run", of(*cells), *map(result, cells))
    data = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(data[:-7])
    begun = resume(folder, of(*cells), print)
    begun.journal.close()
    assert list(begun.done) == ["a/a/b"]
    assert begun.torn


def test_another_plan_is_refused_and_it_is_told_what_changed(tmp_path: Path) -> None:
    """And what to do; the run stays as it was."""
    folder = ran(tmp_path / "run", of(cell("a"), cell("b")), result(cell("a")))
    before = (folder / NAME).read_bytes()
    with pytest.raises(ConfigError) as raised:
        resume(folder, of(cell("a", digest="other"), cell("c")), print)
    assert str(raised.value).splitlines()[0].startswith(f"Run run has plan {of(cell('a'), cell('b')).hash[:12]}, ")
    assert "cell c/a/b is new" in str(raised.value)
    assert "cell b/a/b is no more" in str(raised.value)
    assert "cell a/a/b: its content is another" in str(raised.value)
    assert "--since run" in raised.value.hint
    assert (folder / NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace(of(cell("a"), cell("b")).hash, "0" * 64), "is of plan 000000000000"),
        (lambda text: text.replace('"1/1"', '"1/2"'), "is of shard 1/2, 1/1 was needed"),
        (lambda text: text.replace('"cell":"a/a/b"', '"cell":"z/a/b"'), "z/a/b is no cell of its plan"),
        (lambda text: text.replace("of-a/a/b", "of-other"), "a/a/b was made of something else than in its plan"),
        (lambda text: text.replace('"succeeded"', '"excellent"'), "a/a/b: status is 'excellent'"),
        (lambda text: text.replace('"verdict":{', '"verdict":[{', 1), "line 2 is damaged"),
        (lambda text: text.replace('"status":"succeeded"', '"state":"succeeded"'), "a/a/b: "),
    ],
)
def test_a_journal_of_something_else_is_refused(tmp_path: Path, change: Callable[[str], str], told: str) -> None:
    """It would make a report of what was never run."""
    folder = ran(tmp_path / "run", of(cell("a"), cell("b")), result(cell("a")))
    (folder / NAME).write_text(change((folder / NAME).read_text()))
    with pytest.raises(ConfigError) as raised:
        resume(folder, of(cell("a"), cell("b")), print)
    assert told in str(raised.value)
    assert raised.value.exit_code == 10


def test_a_run_that_still_lives_is_not_gone_on_with(tmp_path: Path) -> None:
    """Two of them would remove each other's evidence."""
    begun = begin(tmp_path, of(cell("a")), print)
    with pytest.raises(ConfigError, match="still lives"):
        resume(tmp_path, of(cell("a")), print)
    begun.journal.close()


def test_a_run_of_something_else_is_told_from_one_of_a_matrix(tmp_path: Path) -> None:
    """By the file that it lacks."""
    with pytest.raises(ConfigError, match=r"is none of a matrix: plan\.json: No such file"):
        resume(tmp_path, of(cell("a")), print)


def test_a_run_goes_on_by_its_own_order_and_shard_under_the_budgets_of_now(tmp_path: Path) -> None:
    """A history that has grown meanwhile must not move cells from shard to shard."""
    cells = [cell(name) for name in "abcd"]
    before = of(*cells).sharded(Shard(1, 2))
    folder = ran(tmp_path / "run", before, result(before.here[0]))
    slow = History([Past("d/a/b", "succeeded", 99.0)])
    now = replace(of(*cells, history=slow).sharded(Shard(1, 2)), budgets=Budgets(9, 9.0))
    begun = resume(folder, now, print)
    begun.journal.close()
    assert begun.plan.here == before.here
    assert begun.plan.here != now.here
    assert begun.plan.budgets == Budgets(9, 9.0)


# -- since -----------------------------------------------------------------------------------------------------------


def test_what_did_not_change_is_taken_over(tmp_path: Path) -> None:
    """Not what changed, what was unexpected, what was not run, and what is new; and it says where it is from."""
    cells = [cell(name) for name in "abcde"]
    outcomes = [result(cells[0]), result(cells[1]), result(cells[2], "failed"), result(cells[3], "skipped")]
    folder = ran(tmp_path / "before", of(*cells), *outcomes)
    now = of(cells[0], cell("b", digest="other"), cells[2], cells[3], cells[4], cell("f"))
    taken = since(folder, now, is_good)
    assert taken == {"a/a/b": result(cells[0], taken="before", folder="../before/cells/a/a/b")}
    begun = begin(tmp_path_of(tmp_path, "now"), now, print, taken)
    begun.journal.close()
    assert begun.done == taken
    assert results_of(tmp_path / "now", now) == taken
    assert (tmp_path / "now" / taken["a/a/b"].folder / "events.jsonl").read_text() == "a/a/b"


def test_what_was_taken_over_twice_is_said_to_be_from_where_it_was_run(tmp_path: Path) -> None:
    """The evidence is there, and nowhere else."""
    made = of(cell("a"))
    first = ran(tmp_path / "first", made, result(cell("a")))
    second = tmp_path_of(tmp_path, "second")
    begin(second, made, print, since(first, made, is_good)).journal.close()
    taken = since(second, made, is_good)["a/a/b"]
    assert (taken.taken, taken.folder) == ("first", "../first/cells/a/a/b")


def test_what_is_expected_is_for_the_expectations_of_now_to_say(tmp_path: Path) -> None:
    """A failure that is known by now need not be run again."""
    made = of(cell("a"))
    folder = ran(tmp_path / "before", made, result(cell("a"), "failed"))
    assert list(since(folder, made, lambda *_: True)) == ["a/a/b"]
    assert since(folder, made, lambda *_: False) == {}


def test_a_run_of_another_matrix_or_engine_gives_nothing(tmp_path: Path) -> None:
    """Its cells are others, though they may be called alike."""
    folder = ran(tmp_path / "before", of(cell("a"), engine="compose"), result(cell("a")))
    with pytest.raises(ConfigError, match="is of m on compose, one of m on embedded was needed"):
        since(folder, of(cell("a")), is_good)


def test_a_run_without_a_result_gives_nothing(tmp_path: Path) -> None:
    """It may have been killed early."""
    folder = tmp_path_of(tmp_path, "before")
    (folder / PLAN).write_text(write_plan(of(cell("a"))))
    assert since(folder, of(cell("a")), is_good) == {}


# -- shards ----------------------------------------------------------------------------------------------------------


def tmp_path_of(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def test_three_shards_merged_are_equal_to_one_run(tmp_path: Path, undisturbed: str) -> None:
    """Results, journal and evidence; each cell was run once."""
    ended, folders = tmp_path / "ended", [tmp_path_of(tmp_path, f"shard{number}") for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        matrix_program.run(folder, ended, the_plan(f"{number}/3"), 0.001)
    assert set(Counter(ended.read_text().split()).values()) == {1}
    merged = merge(folders[::-1])
    into = tmp_path_of(tmp_path, "merged")
    results = write_merged(merged, into, print)
    assert summary(results) == undisturbed
    assert summary(results_of(into, planned(into))) == undisturbed
    assert planned(into) == replace(the_plan(), budgets=merged.plan.budgets)
    assert all((into / each.folder / "events.jsonl").exists() for each in results.values())


def shards(parent: Path, count: int = 2, **more: object) -> tuple[list[Path], list[Cell]]:
    """Return the folders of all shards of a matrix of four cells, all of which were run."""
    cells = [cell(name, **more) for name in "abcd"]  # type: ignore[arg-type]
    parts = [of(*cells).sharded(Shard(number, count)) for number in range(1, count + 1)]
    return [ran(parent / f"s{part.shard.number}", part, *map(result, part.here)) for part in parts], cells


def journal_of(folder: Path) -> Journal:
    return Journal.go_on(folder, print)[0]


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    """By its number, and with the cells that it would have had."""
    folders, _ = shards(tmp_path)
    with pytest.raises(ConfigError) as raised:
        merge(folders[:1])
    assert "shard 2/2 is missing" in raised.value.problems
    assert "cell b/a/b is in none of 1 runs" in raised.value.problems


def test_a_shard_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """One of the two was not asked for."""
    folders, _ = shards(tmp_path)
    with pytest.raises(ConfigError) as raised:
        merge([*folders, folders[0]])
    assert any(problem.startswith("shard 1/2 is there twice") for problem in raised.value.problems)
    assert "once" in raised.value.hint
    assert "missing" not in raised.value.hint


def test_a_missing_cell_is_refused(tmp_path: Path) -> None:
    """A shard was killed."""
    folders, _ = shards(tmp_path)
    lines = (folders[1] / NAME).read_bytes().splitlines(keepends=True)
    (folders[1] / NAME).write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ConfigError) as raised:
        merge(folders)
    assert raised.value.problems == ("cell d/a/b is in none of 2 runs",)
    assert "what is missing of one with --resume RUN" in raised.value.hint


def test_a_cell_in_two_shards_is_refused(tmp_path: Path) -> None:
    """Their machines divided the matrix by other histories."""
    folders, cells = shards(tmp_path)
    journal = journal_of(folders[1])
    journal.add(result(cells[0]).as_dict())
    journal.close()
    with pytest.raises(ConfigError, match=r"cell a/a/b is in .*s1 and .*s2, it was needed once"):
        merge(folders)


def test_machines_that_know_other_durations_are_divided_by_one_plan(tmp_path: Path) -> None:
    """A merge must say how, where they divided differently; done so, their shards must be one run."""
    logs, cells = tmp_path / "logs", [cell(name) for name in "abcd"]
    known = of(*cells), of(*cells, history=History([Past("b/a/b", "succeeded", 99.0)]))
    parts = [divided(known[number - 1], Shard(number, 2), logs) for number in (1, 2)]
    folders = [ran(tmp_path / f"s{part.shard.number}", part, *map(result, part.here)) for part in parts]
    with pytest.raises(ConfigError) as raised:
        merge(folders)
    assert any("it was needed once" in problem for problem in raised.value.problems)
    assert "copy the plan.json of one run into logs/first/ on the other machines" in raised.value.hint
    (logs / "first").mkdir(parents=True)
    shutil.copy(folders[0] / PLAN, logs / "first")
    again = divided(known[1], Shard(2, 2), logs)
    folders[1] = ran(tmp_path / "again", again, *map(result, again.here))
    assert sorted(merge(folders).results) == ["a/a/b", "b/a/b", "c/a/b", "d/a/b"]


def test_a_foreign_cell_is_refused(tmp_path: Path) -> None:
    """It is none of the plan."""
    folders, _ = shards(tmp_path)
    journal = journal_of(folders[1])
    journal.add(result(cell("z")).as_dict())
    journal.close()
    with pytest.raises(ConfigError, match="z/a/b is no cell of its plan"):
        merge(folders)


def test_shards_of_another_plan_are_refused(tmp_path: Path) -> None:
    """They are no parts of one whole."""
    folders, _ = shards(tmp_path)
    others, _ = shards(tmp_path_of(tmp_path, "other"), digest="other")
    with pytest.raises(ConfigError, match="only shards of one plan"):
        merge([folders[0], others[1]])


def test_shards_of_another_division_are_refused(tmp_path: Path) -> None:
    """Their cells overlap, or some are in none."""
    folders, _ = shards(tmp_path)
    others, _ = shards(tmp_path_of(tmp_path, "other"), 3)
    with pytest.raises(ConfigError, match="the runs are shards 1/2, 2/3: all of one division were needed"):
        merge([folders[0], others[1]])


def test_nothing_to_merge_is_refused() -> None:
    """It must say what was needed."""
    with pytest.raises(ConfigError, match="nothing to merge"):
        merge([])
