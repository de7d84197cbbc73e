"""Wrong words for a matrix, on the command line: each is one clear error, and nothing is made or run."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
from toy_matrix import Toy, statuses

if TYPE_CHECKING:
    from projects import Project

IS_NONE = "is none: i/n was needed, such as 2/3, with i from 1 to n"
NO_NUMBER = "is no whole number from 1 on"
WORDS = [
    *((f"run --shard {shard}", f"Shard '{shard}' {IS_NONE}") for shard in ("3/2", "0/2", "x", "1/0", "-1/2", "1/2/3")),
    ("plan --shard 3/2", f"Shard '3/2' {IS_NONE}"),
    ("run --shard ''", f"Shard '' {IS_NONE}"),
    *((f"run --slots {slots}", f"--slots '{slots}' {NO_NUMBER}") for slots in ("0", "-3", "x", "1.5")),
    ("plan --slots 0", f"--slots '0' {NO_NUMBER}"),
    ("run --slots ''", "A value of --slots was not given"),
    ("run --time-out 3x", "No idea what '--time-out' is!"),
    ("run --cell", "A value of --cell was not given"),
    ("run --cell ''", "A value of --cell was not given"),
    ("run --cell plain/py/yp", "Cell 'plain/py/yp' is not known; did you mean 'plain/py/py'?"),
    ("run --cell plain/go/erlang", "Cell 'plain/go/erlang' is not known"),  # implementations that there are not
    ("run --cell PLAIN/py/sh", "Cell 'PLAIN/py/sh' is not known; did you mean 'plain/py/sh'?"),
    ("run --cell nope", "Cell 'nope' is not known: TEST/WORKER/DRIVER was needed"),
    ("plan --cell nope", "next: `harness interop.plan` lists them"),
    ("run --cell a/b/c --cell d/e/f", "2 problems: Cell 'a/b/c' is not known"),
    ("run --resume ''", "A value of --resume was not given"),
    ("run --resume=", "A value of --resume was not given"),
    ("run --since ''", "A value of --since was not given"),
    ("run --resume a --since b", "--resume and --since exclude each other; give one of them"),
    ("run --matrix toi", "Matrix 'toi' (command line) is not known; there are: none"),
    ("run --matrix ./toi", "toi (command line) does not exist"),
    ("run --matrix pyproject.toml", "pyproject.toml: key 'tool' is not known"),
    ("run --engine dockr", "Engine 'dockr' (command line) is not known; valid: auto, compose, embedded, attach"),
    ("tests-build --name pyy", "Implementation 'pyy' is not known; there are: py, sh; did you mean 'py'?"),
    ("judge", "There is no run of matrix toy in"),
    ("judge --run nope", "Run 'nope' is not known: neither a folder nor in"),
    ("inspect", "There is no run of a matrix in"),
    ("merge --into x", "There is nothing to merge: the folders of all shards' runs were needed"),
    ("merge --part nope", "--into FOLDER was not given"),
    ("merge --part nope --into x", "Run 'nope' is not known: neither a folder nor in"),
    ("lock --nope", "No idea what '--nope' is!"),
]


@pytest.mark.parametrize(("words", "says"), WORDS)
def test_a_wrong_word_is_told(project: Project, words: str, says: str) -> None:
    """With 10, what was seen and what was needed; an empty value, as of a variable that is not set, is none."""
    toy = Toy(project)
    before = sorted(toy.root.rglob("*"))
    assert says in toy.refused(*shlex.split(words))
    assert sorted(toy.root.rglob("*")) == before
    assert (project.ledgers(), project.processes()) == ([], {})


def test_what_a_plan_costs_is_told_as_json(project: Project) -> None:
    """Both flags were given, so neither may be left out: bounds, and which of them binds."""
    toy = Toy(project)
    cost = toy.plan("--cost")["cost"]
    assert cost["binding"] in {bound["name"] for bound in cost["bounds"]}
    assert all(bound["seconds"] >= 0 and bound["why"] for bound in cost["bounds"])
    assert "cost" not in toy.plan()


def test_a_run_of_another_shard_does_not_go_on(project: Project) -> None:
    """What was asked for would not be run, and nobody be told; its own shard, or none, may be said."""
    toy = Toy(project)
    first = json.loads(toy("run", "--json", "--shard", "1/2").stdout)
    runs = sorted((toy.root / "logs").iterdir())
    told = toy.refused("run", "--resume", "latest", "--shard", "2/2")
    assert f"Run {first['run']} is of shard 1/2, and --shard is 2/2" in told
    assert "without --resume shard 2/2 is run anew" in told
    assert sorted((toy.root / "logs").iterdir()) == runs
    assert statuses(toy.run("--resume", "latest")) == statuses(toy.run("--resume", "latest", "--shard", "1/2"))
    near = toy.refused("inspect", "--run", first["run"][:-1])
    assert f"did you mean '{first['run']}'?" in near


@pytest.mark.parametrize("into", ["logs", "tests", "interop.toml"])
def test_merged_runs_are_written_over_nothing(project: Project, into: str) -> None:
    """A folder that has something must be refused, and stay as it is; an empty one is taken."""
    toy = Toy(project)
    toy.run()
    before = sorted(toy.root.rglob("*"))
    told = toy.refused("merge", "--part", "latest", "--into", into)
    assert f"{into} is there already: a folder that does not exist was needed for the merged run" in told
    assert sorted(toy.root.rglob("*")) == before
    (toy.root / "empty").mkdir()
    assert toy("merge", "--part", "latest", "--into", "empty").code == 0
