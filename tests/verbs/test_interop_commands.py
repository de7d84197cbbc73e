"""A matrix through its commands: what is run, with which exit code, and what is taken over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from toy_matrix import Toy, statuses

if TYPE_CHECKING:
    from projects import Project

EXPECT = '[[expect]]\ntest = "fails"\nstatus = ["failed"]\nreason = "it always does"\n'


def test_each_cell_has_its_verdict_and_the_command_a_code(project: Project) -> None:
    """A cell that fails must end the command with 1, unless that is expected; what is unknown to all is no failure."""
    toy = Toy(project, "plain", "fails", "unknown")
    report = toy.run(code=1)
    assert report["totals"] == {"succeeded": 4, "failed": 4, "unsupported": 4}
    assert report["exit_code"] == 1
    toy.write("expect.toml", EXPECT)
    assert toy.run()["unexpected"] == 0


def test_cells_that_are_named_are_run_alone(project: Project) -> None:
    """``--cell`` must run those, and a name that is none be told with the one that is near."""
    toy = Toy(project, "plain", "fails")
    assert statuses(toy.run("--cell", "plain/py/sh", "--cell", "plain/sh/sh")) == {
        "plain/py/sh": "succeeded",
        "plain/sh/sh": "succeeded",
    }
    assert "'plain/py/shh' is not known; did you mean 'plain/py/sh'?" in toy.refused("run", "--cell", "plain/py/shh")


def test_shards_make_one_run(project: Project) -> None:
    """Shards merged must be the run that was not divided; one that is missing must be told."""
    toy = Toy(project, "plain", "fails")
    whole = toy.run(code=1)
    parts = [json.loads(toy("run", "--json", "--shard", f"{number}/3").stdout) for number in (1, 2, 3)]
    folders = [word for part in parts for word in ("--part", str(toy.root / "logs" / part["run"]))]
    missing = toy.refused("merge", *folders[:4], "--into", "few")
    assert "shard 3/3 is missing" in missing
    assert not (toy.root / "few").exists()
    assert toy("merge", *folders, "--into", "merged").code == 1
    merged = json.loads((toy.root / "merged" / "report.json").read_text())
    assert statuses(merged) == statuses(whole)
    assert merged["plan"] == whole["plan"]
