"""A matrix through its commands: what is run, with which exit code, and what is taken over."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from toy_matrix import PY, SH, TOML, Toy, commit, statuses

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


def test_a_setup_is_run_again_when_its_folder_is_another(project: Project) -> None:
    """A setup may compile: it must be run once, and again when a file has changed, not for what it makes itself."""
    made = 'setup = ["sh", "-c", "cp th-test.sh program; echo >> ../times"]\n'
    toy = Toy(project, toml=TOML.replace('command = ["sh", "./th-test.sh"]', f'{made}command = ["sh", "./program"]'))
    times = []
    for line in ("", "", "# changed\n", ""):
        toy.write("sh/th-test.sh", (toy.root / "sh/th-test.sh").read_text() + line)
        toy.run("--cell", "plain/sh/sh")
        times.append((toy.root / "times").read_text().count("\n"))
    assert times == [1, 1, 2, 2]


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


def test_the_last_run_is_the_one_before_this_one(project: Project) -> None:
    """``--since latest`` must take over what is as it was in the last run of this matrix."""
    toy = Toy(project, "plain", "fails")
    first = toy.run(code=1)
    toy.write("sh/th-test.sh", (toy.root / "sh/th-test.sh").read_text() + "# changed\n")
    (toy.root / "logs" / "20991231-000000-00000000").mkdir()  # a run of tests, say
    again = toy.run("--since", "latest", code=1)
    taken = [cell["id"] for cell in again["cells"] if not cell["seconds"] or cell["folder"].startswith("..")]
    assert taken == ["plain/py/py"]
    third = toy("run", "--since", first["run"])
    assert f"1 of 8 cells are taken over from run {first['run']}" in third.stderr


def test_a_run_that_has_ended_goes_on_with_nothing(project: Project) -> None:
    """``--resume latest`` must end as the run has, and be the same run for whoever asks for the last one."""
    toy = Toy(project, "plain", "fails")
    first = toy.run(code=1)
    again = toy.run("--resume", "latest", code=1)
    assert (again["run"], again["totals"]) == (first["run"], first["totals"])
    assert toy.run("--resume", "latest", code=1)["run"] == first["run"]
    shown = toy("inspect", "--json")
    assert json.loads(shown.stdout)["run"] == first["run"]


@pytest.mark.parametrize("word", ["--resume", "--since"])
def test_a_run_that_is_none_is_told(project: Project, word: str) -> None:
    """A run that is not known must be told, before anything is made; so must be that there is none yet."""
    toy = Toy(project)
    assert "There is no run of matrix toy in" in toy.refused("run", word, "latest")
    assert "Run 'nope' is not known" in toy.refused("run", word, "nope")
    assert not (toy.root / "logs").exists()


# -- what implementations are made of --------------------------------------------------------------------------------


def test_the_plan_is_that_of_the_run(project: Project) -> None:
    """The hash of ``interop.plan`` must be the run's, also after the run: what it leaves behind is no part of it."""
    toy = Toy(project)
    toy.write("py/helper.py", "")
    toy.write("py/th-test.py", "import helper\n" + PY)
    hash_ = toy.plan()["hash"]
    assert toy.run()["plan"] == hash_
    assert toy.plan()["hash"] == hash_
    toy.write("py/helper.py", "# changed\n")
    assert toy.plan()["hash"] != hash_


def test_what_is_locked_is_refused_when_it_is_another(project: Project) -> None:
    """``--locked`` must run what is held, refuse all else with 10 before anything is made, and say what and where."""
    toy = Toy(project)
    assert "interop.lock does not exist or holds no implementation" in toy.refused("run", "--locked")
    assert toy("lock").code == 0
    text = (toy.root / "interop.lock").read_text()
    assert toy("lock").code == 0
    assert (toy.root / "interop.lock").read_text() == text
    assert toy.run("--locked")["totals"] == {"succeeded": 4}
    toy.write("sh/th-test.sh", SH + "# changed\n")
    toy.write("interop.toml", TOML + '[implementations.more]\ncommand = ["sh", "x"]\n')
    runs = sorted((toy.root / "logs").iterdir())
    for command in ("run", "plan"):
        told = toy.refused(command, "--locked")
        assert "sh has other files, setup or command:" in told
        assert "more is not in interop.lock" in told
        assert "next: take what is held, or `harness interop.lock` writes what there is now" in told
    assert sorted((toy.root / "logs").iterdir()) == runs
    assert toy("plan").code == 0
    assert toy("lock").code == 0
    assert toy("plan", "--locked").code == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("format = 99\n", "format is 99; 1 was needed"),
        ("format = \n", "it is no TOML"),
        ("format = 1\n[[implementation]]\nname = 'a'\n", "an implementation has no source"),
        ("format = 1\nimplementation = 3\n", "what it says of an implementation cannot be understood"),
    ],
)
def test_a_lock_that_is_none_is_told(project: Project, text: str, says: str) -> None:
    """A damaged lock, or one of another version, must be told with what to do; that writes it anew."""
    toy = Toy(project)
    toy.write("interop.lock", text)
    told = toy.refused("plan", "--locked")
    assert says in told
    assert "next: `harness interop.lock` writes it anew" in told
    assert toy("lock").code == 0
    assert toy("plan", "--locked").code == 0


def test_an_implementation_is_run_from_a_commit(project: Project) -> None:
    """What runs must be the commit, not what the repository has since; one that is not there breaks its cells alone."""
    toy = Toy(project)
    toy.write("up/inner/th-test.py", PY)
    first = commit(toy.root / "up")
    source = f'[implementations.up]\ngit = "./up"\ncommit = "{first}"\nfolder = "inner"\n'
    toy.write("interop.toml", TOML + source + 'command = ["python", "th-test.py"]\n')
    toy.write("up/inner/th-test.py", "import sys; sys.exit(3)")
    commit(toy.root / "up")
    report = toy.run("--cell", "plain/up/sh", "--cell", "plain/py/sh")
    assert report["totals"] == {"succeeded": 2}
    assert next(each["commit"] for each in report["implementations"] if each["name"] == "up") == first
    toy.write("interop.toml", (toy.root / "interop.toml").read_text().replace(first, "0" * 40))
    report = toy.run("--cell", "plain/up/sh", "--cell", "plain/py/sh", code=12)
    broken = next(cell["verdict"] for cell in report["cells"] if cell["worker"] == "up")
    assert (broken["status"], broken["blame"], broken["implementation"]) == ("broken", "implementation", "up")
    assert f"commit {'0' * 40} does not exist" in broken["reason"]
    toy.write("interop.toml", (toy.root / "interop.toml").read_text().replace("0" * 40, first).replace("inner", "no"))
    report = toy.run("--cell", "plain/up/sh", code=12)
    assert "folder 'no' does not exist in commit" in report["cells"][0]["verdict"]["reason"]


@pytest.mark.parametrize("gone", ["repository", "git"])
def test_what_cannot_be_fetched_breaks_its_cells(project: Project, gone: str) -> None:
    """Without the repository, or without git, an implementation's cells are broken, and others are run."""
    toy = Toy(project)
    source = f'[implementations.up]\ngit = "./{gone}"\ncommit = "{"1" * 40}"\ncommand = ["sh", "x"]\n'
    toy.write("interop.toml", TOML + source)
    if gone == "git":
        (toy.root / "bin").mkdir()
        for name in ("sh", "env"):
            (toy.root / "bin" / name).symlink_to(shutil.which(name) or "")
        project.environ["PATH"] = str(toy.root / "bin")
    report = toy.run("--cell", "plain/up/sh", "--cell", "plain/py/sh", code=12)
    assert statuses(report) == {"plain/up/sh": "broken", "plain/py/sh": "succeeded"}
    reason = next(cell["verdict"]["reason"] for cell in report["cells"] if cell["worker"] == "up")
    assert ("needs the program git" if gone == "git" else "does not exist") in reason or "cannot be fetched" in reason


def test_the_newest_commit_is_held_by_the_lock(project: Project) -> None:
    """Where an older project's manifest names no commit, HEAD is run; once there is a lock, what that holds."""
    toy = Toy(project)
    (toy.root / "interop.toml").unlink()
    toy.write("up/th-test", PY)
    toy.write("tests/_implementations.json", json.dumps({"up": {"repo": f"file://{toy.root}/up"}}))
    first = commit(toy.root / "up")
    assert f"up: HEAD of file://{toy.root}/up is {first}; `harness interop.lock` holds it" in toy("plan").stderr
    assert toy("lock").code == 0
    assert f'commit = "{first}"' in (toy.root / "tests/interop.lock").read_text()
    toy.write("up/th-test", PY + "# changed\n")
    second = commit(toy.root / "up")
    assert "HEAD" not in toy("plan", "--locked").stderr
    assert toy("lock").code == 0
    assert f'commit = "{second}"' in (toy.root / "tests/interop.lock").read_text()


def test_images_alone_need_an_engine(project: Project) -> None:
    """Where no implementation can be a local process, that an engine is missing must be said, and not of each cell."""
    toy = Toy(project, toml="\n".join(line for line in TOML.splitlines() if "command" not in line))
    said = toy.refused("run")
    assert "Matrix 'toy' needs a Docker engine (" in said
    assert "or say by `command` how its implementations run as local processes" in said
