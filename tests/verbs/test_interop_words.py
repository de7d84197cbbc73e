"""The words of the older tool: what they mean, and what they do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import matrix_sample
import pytest
from two_echoes import TOML, Echoes

from harness.reporting.interop.ranking import ranking
from harness.reporting.interop.report import Report
from harness.verbs.interop_words import translated

if TYPE_CHECKING:
    from projects import Project


@pytest.mark.parametrize(
    ("words", "means"),
    [
        ("interop", "interop.help"),
        ("interop help", "interop.help"),
        ("interop test --engine embedded", "interop.test --engine embedded"),
        ("interop tests build", "interop.tests-build"),
        ("interop tests update", "interop.tests-update"),
        ("interop tests build go", "interop.tests-build --name go"),
        ("interop tests build --engine embedded", "interop.tests-build --engine embedded"),
        ("interop inspect latest --cell a/b/c", "interop.inspect --run latest --cell a/b/c"),
        ("interop.inspect a.dump", "interop.inspect --run a.dump"),
        ("interop inspect --json", "interop.inspect --json"),
        ("interop.inspect --json --cell a/b/c a.dump", "interop.inspect --json --cell a/b/c --run a.dump"),
        ("interop.inspect --run a --cell=a/b/c", "interop.inspect --run a --cell=a/b/c"),
        ("interop judge latest --json", "interop.judge --run latest --json"),
        ("interop.judge --matrix=m latest", "interop.judge --matrix=m --run latest"),
        ("interop.judge --run latest", "interop.judge --run latest"),
        ("interop.judge", "interop.judge"),
        ("interop tournament", "interop.tournament"),
        ("up --stack interop", "up --stack interop"),
    ],
)
def test_what_words_mean(words: str, means: str) -> None:
    """Each must be a task; all others are as they were."""
    assert translated(words.split()) == means.split()


def test_a_ranking() -> None:
    """Those of an equal share must share a rank, by name; what was skipped counts for nobody."""
    cell = matrix_sample.cell
    cells = (
        cell("t", "a", "b", "succeeded"),
        cell("t", "b", "a", "succeeded"),
        cell("t", "a", "c", "failed"),
        cell("t", "c", "b", "failed"),
        cell("t", "c", "a", "skipped"),
    )
    ranked = ranking(Report("m", "r", "embedded", cells))
    assert [(one.rank, one.name, one.as_worker, one.of_worker, one.as_driver, one.of_driver) for one in ranked] == [
        (1, "a", 1, 2, 1, 1),
        (1, "b", 1, 1, 1, 2),
        (3, "c", 0, 1, 0, 1),
    ]


def test_what_is_developed_here_is_tested(project: Project) -> None:
    """As worker against all; its report is in the older tool's place, and a second one is written beside it."""
    echoes = Echoes(project)
    for count in (1, 2):
        done = echoes("interop", "test")
        assert "cells: 2 (2 succeeded); none unexpected" in done.stdout
        reports = sorted((project.root / "interop/reports").iterdir())
        assert len(reports) == count
    assert all(path.name.startswith("one-") and path.suffix == ".dump" for path in reports)
    assert sorted(json.loads(reports[0].read_text())["tests"]["works"]["runs"]) == ["one", "two"]


def test_a_tournament(project: Project) -> None:
    """All must be run against all, whatever the matrix says, and ranked."""
    echoes = Echoes(project, toml=TOML.replace('name = "echoes"', 'name = "echoes"\nworkers = ["one"]'))
    done = echoes("interop", "tournament")
    assert "cells: 4 (4 succeeded)" in done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "1     one             2 of 2     2 of 2     100 %",
        "1     two             2 of 2     2 of 2     100 %",
    ]


def test_bad_words(project: Project) -> None:
    """Each must be one clear error, with 10; an annotation names the task as it is called."""
    echoes = Echoes(project, toml=TOML.replace("local = true\n", ""))
    assert "no implementation is developed here" in echoes("interop", "test", code=10).stderr
    assert "did you mean 'two'?" in echoes("interop", "tests", "build", "twoo", code=10).stderr
    assert "No idea what 'interop.tset' is!" in echoes("interop", "tset", code=10).stderr
    project.environ["GITHUB_ACTIONS"] = "true"
    assert "title=harness interop.test::" in echoes("interop", "test", code=10).stderr
    assert echoes("interop", "tests", "build", "two").stdout.startswith("two tree:")
    assert "harness interop tournament" in echoes("interop", "help").stdout
