"""Two runs of one suite beside each other: what is alike, what differs, and what was declared to differ."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, service

from harness import procs
from harness.errors import ConfigError
from harness.results.parity import Difference, Side, compare, declared_differences, read_side

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B, C = "tests/test_a.py::test_a", "tests/test_a.py::test_b[1-x]", "tests/test_a.py::test_b[2]"
GOOD = {A: "succeeded", B: "succeeded", C: "succeeded"}


def sides(
    first: Mapping[str, str], second: Mapping[str, str], codes: tuple[int | None, int | None] = (0, 0)
) -> tuple[Side, Side]:
    """Return two sides that have these outcomes."""
    return Side("embedded", codes[0], first), Side("compose", codes[1], second)


def test_runs_that_are_alike_hold() -> None:
    """Same tests with same outcomes must hold, and the counts of both be shown."""
    parity = compare(*sides({**GOOD, C: "skipped"}, {**GOOD, C: "skipped"}), {})
    assert parity.holds
    assert str(parity) == (
        "embedded  2 succeeded, 0 failed, 0 broken, 1 skipped, 0 xfailed; exit code 0\n"
        "compose   2 succeeded, 0 failed, 0 broken, 1 skipped, 0 xfailed; exit code 0\n"
        "same ids: 3; differences: 0, declared: 0"
    )


def test_a_difference_that_nobody_declared_fails() -> None:
    """A test that is skipped on one engine only must fail the comparison and be in the table."""
    parity = compare(*sides(GOOD, {**GOOD, A: "skipped"}), {})
    assert not parity.holds
    assert str(parity).splitlines()[2:] == [
        "same ids: 3; differences: 1, declared: 0",
        "test                     embedded   compose  declared",
        "tests/test_a.py::test_a  succeeded  skipped  no",
    ]


@pytest.mark.parametrize("pattern", [B, "tests/test_a.py::test_b", "tests/*::test_b*", "*"])
def test_a_declared_difference_holds(pattern: str) -> None:
    """A difference must hold when its id, its id without parameters, or a pattern declares it."""
    parity = compare(*sides(GOOD, {**GOOD, B: "skipped"}), {pattern: "no such probe"})
    assert parity.holds
    assert parity.differences == (Difference(B, ("succeeded", "skipped"), "no such probe"),)


@pytest.mark.parametrize("pattern", [A, C, "tests/test_a.py", "tests/test_a.py::test"])
def test_a_declaration_means_only_what_it_names(pattern: str) -> None:
    """A difference must not be excused by another test's declaration, nor by the beginning of its id."""
    assert not compare(*sides(GOOD, {**GOOD, B: "skipped"}), {pattern: "why"}).differences[0].reason


@pytest.mark.parametrize(
    ("other", "reason", "holds"),
    [
        ("succeeded", "no compaction", True),
        ("succeeded", "", False),
        ("skipped", "no compaction", False),
        ("failed", "no compaction", False),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_known_failure_declares_itself(other: str, reason: str, holds: bool, turned: bool) -> None:
    """A test may fail on one engine only when its xfail marker says why, and it must succeed on the other."""
    first = Side("embedded", 0, {**GOOD, B: "xfailed"}, {B: reason})
    second = Side("compose", 0, {**GOOD, B: other})
    parity = compare(*((second, first) if turned else (first, second)), {})
    assert parity.holds == holds
    assert [difference.reason for difference in parity.differences] == ["no compaction" if holds else ""]


def test_a_failure_that_is_known_on_both_engines_is_alike() -> None:
    """A test that is xfailed on both engines must be no difference."""
    known = {**GOOD, B: "xfailed"}
    assert compare(Side("embedded", 0, known, {B: "why"}), Side("compose", 0, known, {B: "why"}), {}).holds


def test_a_stale_declaration_fails() -> None:
    """A declared difference that is none any more, or means no test, must be reported."""
    parity = compare(*sides(GOOD, GOOD), {A: "was slow", "tests/test_z.py::*": "moved"})
    assert parity.problems == (
        f"declared difference {A!r} (was slow) is none any more",
        "declared difference 'tests/test_z.py::*' (moved) means no test of this suite",
    )
    assert not parity.holds


def test_a_part_of_a_suite_says_nothing_of_declarations() -> None:
    """After a run that was narrowed nothing may be called stale."""
    assert compare(*sides(GOOD, GOOD), {A: "why"}, whole=False).holds


@pytest.mark.parametrize("declared", [{}, {C: "never there"}])
def test_a_test_on_one_engine_only_fails(declared: dict[str, str]) -> None:
    """A test that ran on one engine only must fail the comparison, declared or not."""
    less = {test: status for test, status in GOOD.items() if test != C}
    for parity, seen in (
        (compare(*sides(GOOD, less), declared), ("succeeded", "absent")),
        (compare(*sides(less, GOOD), declared), ("absent", "succeeded")),
    ):
        assert not parity.holds
        assert parity.same == 2
        assert [difference.statuses for difference in parity.differences] == [seen]


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ((1, 0), "the suite on embedded ended with exit code 1"),
        ((0, 12), "the suite on compose ended with exit code 12"),
        ((0, None), "the suite on compose left no report, or did not come to its end"),
    ],
)
def test_a_suite_that_failed_fails_the_comparison(codes: tuple[int | None, int | None], problem: str) -> None:
    """Same outcomes do not hold when a suite failed, or did not end."""
    assert compare(*sides(GOOD, GOOD, codes), {}).problems == (problem,)


def test_runs_without_a_common_test_do_not_hold() -> None:
    """Nothing compared must never pass for alike, nor one engine for two."""
    assert compare(*sides({}, {}), {}).problems == ("no test ran on both",)
    assert compare(Side("embedded", 0, GOOD), Side("embedded", 0, GOOD), {}).problems == ("both runs were on embedded",)


def made(logs: Path, engine: str, statuses: Mapping[str, str], code: int | None = 0) -> Path:
    """Write a run folder by hand, and ``latest``."""
    run = logs / "20260101-000000-00000000"
    run.mkdir(parents=True)
    facts = {"engine": engine} if code is None else {"engine": engine, "exit_code": code}
    (run / "run.json").write_text(json.dumps(facts))
    events = [{"t": 0.0, "event": "plan", "stack": "s", "plan": "p"}]
    events += [{"t": 1.0, "event": "test", "test": test, "status": status} for test, status in statuses.items()]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (logs / "latest").symlink_to(run.name)
    return logs


def test_a_run_folder_is_read(tmp_path: Path) -> None:
    """Engine, exit code and outcomes must come from the newest run; what is not there is no success."""
    assert read_side(made(tmp_path / "a", "compose", GOOD, 12)) == Side("compose", 12, GOOD)
    assert read_side(made(tmp_path / "b", "compose", GOOD, None)) == Side("compose", None, GOOD)
    assert read_side(tmp_path / "embedded") == Side("embedded", None, {})


def test_a_torn_run_folder_is_an_error(tmp_path: Path) -> None:
    """A run.json that cannot be read must be named."""
    (made(tmp_path, "compose", GOOD) / "latest" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"Run .*/latest cannot be read"):
        read_side(tmp_path)


def test_a_real_run_can_be_read(project: Project) -> None:
    """What a run writes must be what is read here: ids with parameters, and every status."""
    project.stack("one", {"a": service("wait")})
    (project.root / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('x', ['1', 'a/b'])\n"
        "def test_good(stack, x): pass\n"
        "def test_bad(stack): assert False\n"
        "def test_not(stack): pytest.skip('no')\n"
        "@pytest.mark.xfail(reason='is known', strict=True)\n"
        "def test_known(stack): assert False\n"
    )
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert (done.code, (project.root / "logs").is_dir()) == (1, True), done.stdout
    assert read_side(project.root / "logs") == Side(
        "embedded",
        1,
        {
            "test_it.py::test_good[1]": "succeeded",
            "test_it.py::test_good[a/b]": "succeeded",
            "test_it.py::test_bad": "failed",
            "test_it.py::test_not": "skipped",
            "test_it.py::test_known": "xfailed",
        },
        {"test_it.py::test_known": "is known"},
    )


def pyproject(folder: Path, differences: str) -> Path:
    """Write a pyproject.toml with this table of differences."""
    path = folder / "pyproject.toml"
    path.write_text(f"[tool.harness.systems.shop.differences]\n{differences}\n")
    return path


def test_declarations_are_checked(tmp_path: Path) -> None:
    """A system that is not there, and a difference without a reason, must be errors."""
    assert declared_differences(pyproject(tmp_path, '"t.py::a" = "why"'), "shop") == {"t.py::a": "why"}
    with pytest.raises(ConfigError, match="System 'shp' is not known; there are: shop"):
        declared_differences(pyproject(tmp_path, ""), "shp")
    for reason in ('""', "true"):
        with pytest.raises(ConfigError, match=r"differences]: 't.py::a' has .* as its reason"):
            declared_differences(pyproject(tmp_path, f'"t.py::a" = {reason}'), "shop")


@pytest.mark.parametrize(
    ("declared", "words", "code", "said"),
    [
        ('"tests/test_a.py::test_b" = "no such probe"', [], 0, "no such probe"),
        ("", [], 1, "tests/test_a.py::test_b[1-x]  succeeded  skipped  no"),
        ('"tests/test_a.py::test_*" = "all of them"\n"gone" = "old"', [], 1, "means no test of this suite"),
        ('"tests/test_a.py::test_*" = "all of them"\n"gone" = "old"', ["--part"], 0, "same ids: 3"),
        ("x = 1", [], 10, "has 1 as its reason"),
    ],
)
def test_the_command_line(tmp_path: Path, declared: str, words: list[str], code: int, said: str) -> None:
    """The command must print the comparison and end with 0, 1 or 10."""
    folders = [made(tmp_path / "a", "embedded", GOOD), made(tmp_path / "b", "compose", {**GOOD, B: "skipped"})]
    table = pyproject(tmp_path, declared)
    command = ["-m", "harness.results.parity", "--system=shop", f"--pyproject={table}", *map(str, folders), *words]
    done = procs.run([sys.executable, *command], timeout=30)
    assert done.code == code, done.stderr
    assert said in done.stdout + done.stderr
