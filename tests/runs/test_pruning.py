"""Folders of runs: Git and pytest pass them over, old ones go, and whatever is of use stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from projects import run_in, service

from harness import clock, procs
from harness.artifacts import make_run_folder
from harness.errors import ConfigError
from harness.reporting import RunFolder
from harness.runs import running
from harness.runs.pruning import RunEntry, prune, superfluous

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def name_of(number: int) -> str:
    """Return the id of an old run, the older the smaller the number."""
    return f"20260102-{number:06d}-0123abcd"


def old_run(project: Project, number: int, code: int | None = 0) -> Path:
    """Make the folder of a run that ended with ``code``, or was killed."""
    folder = project.root / "logs" / name_of(number)
    (folder / "services").mkdir(parents=True)
    (folder / "services" / "web.log").write_text("up")
    (folder / "run.json").write_text(json.dumps({} if code is None else {"exit_code": code}))
    return folder


def names(project: Project) -> list[str]:
    """Return what is in the folder of runs, but for what belongs to it."""
    return sorted(path.name for path in (project.root / "logs").iterdir() if path.name not in ("latest", ".gitignore"))


@pytest.fixture
def few(project: Project) -> Project:
    """A project that keeps three runs."""
    project.environ["HARNESS_KEEP_RUNS"] = "3"
    return project


# -- who looks there -------------------------------------------------------------------------------------------------


def test_git_passes_the_folder_over(project: Project) -> None:
    """A folder of runs must ignore itself, whatever the project's own .gitignore says."""
    run_in(project, "-c", "import subprocess; subprocess.run(['git', 'init', '-q', '.'], check=True, timeout=20)")
    project.stack("s", {"one": service("say:up", "wait", ready=[{"log": "up"}])})
    with running(project.run()) as run:
        run.bring("s")
    assert (project.root / "logs" / ".gitignore").read_text() == "*\n"
    done = procs.run(["git", "status", "--porcelain", "--untracked-files=all"], timeout=20, cwd=project.root)
    assert [line for line in done.stdout.splitlines() if "logs" in line] == []


@pytest.mark.parametrize("there", ["notes.txt", ".gitignore"])
def test_a_folder_with_something_else_is_not_ignored_as_a_whole(tmp_path: Path, there: str) -> None:
    """Where a folder of runs has anything of the user's, only each run must be ignored, and that be left as it is."""
    (tmp_path / there).write_text("mine\n")
    folder = make_run_folder(tmp_path, name_of(1))
    assert (tmp_path / there).read_text() == "mine\n"
    if there == "notes.txt":
        assert not (tmp_path / ".gitignore").exists()
        assert (folder / ".gitignore").read_text() == "*\n"


def test_pytest_collects_nothing_there(project: Project) -> None:
    """A test that lies in a run's folder, such as a mounted copy, must not be collected; others must."""
    old_run(project, 1).joinpath("services", "test_copy.py").write_text("def test_copy(): assert 0\n")
    (project.root / "logs" / "latest").symlink_to(name_of(1))
    (project.root / "test_own.py").write_text("def test_own(): pass\n")
    done = run_in(project, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", ".")
    assert "test_own" in done.stdout
    assert "test_copy" not in done.stdout


# -- which ones go ---------------------------------------------------------------------------------------------------


def test_the_newest_stay_and_the_newest_failed_one_and_what_is_needed(tmp_path: Path) -> None:
    """Of old runs all must go but the newest, the newest that failed, what is needed, and where their logs are."""
    entries = [
        RunEntry(
            tmp_path / str(number), failed=number in (2, 4), uses=frozenset([tmp_path / "1"] if number == 4 else [])
        )
        for number in range(10)
    ]
    gone = superfluous(entries, 2, [tmp_path / "0"])
    assert [path.name for path in gone] == ["2", "3", "5", "6", "7"]
    assert superfluous(entries, 10, []) == []


def test_old_runs_go_at_the_next_start(few: Project) -> None:
    """A new run must have the oldest folders removed, beyond those that the setting keeps."""
    few.stack("s", {"one": service("say:up", "wait", ready=[{"log": "up"}])})
    for number in range(6):
        old_run(few, number)
    run = few.run()
    with running(run):
        run.bring("s")
        assert run.environment
        wanted = [name_of(4), name_of(5), run.environment.env]
        for _ in clock.poll(clock.Deadline.after(20)):
            if names(few) == wanted:
                break
    assert names(few) == wanted


def test_what_is_no_run_or_in_use_stays(few: Project) -> None:
    """Folders that are not named as runs or have no run's files, links, and one in which a run writes must stay."""
    for number in range(8):
        old_run(few, number)
    held = RunFolder(few.root / "logs" / name_of(0), {})
    (few.root / "logs" / "notes").mkdir()
    (few.root / "logs" / name_of(9)).mkdir()
    (few.root / "logs" / name_of(10)).symlink_to(name_of(1))
    (few.root / "logs" / "latest").symlink_to(name_of(2))
    left = [name_of(0), name_of(2), *map(name_of, (5, 6, 7, 9, 10)), "notes"]
    assert [path.name for path in prune(few.settings())] == [name_of(1), name_of(3), name_of(4)]
    assert names(few) == left
    del held
    assert [path.name for path in prune(few.settings())] == [name_of(0)]


def test_what_was_left_half_removed_goes(few: Project) -> None:
    """A folder whose removal was cut short must go with the next, and not be shown as a run."""
    old_run(few, 1)
    old_run(few, 0).rename(few.root / "logs" / f".pruned-{name_of(0)}")
    done = run_in(few, *HARNESS, "report", "--run", name_of(0))
    assert (done.code, "is not known" in done.stderr) == (10, True)
    assert prune(few.settings()) == []
    assert names(few) == [name_of(1)]


def test_an_environment_of_another_state_folder_keeps_its_folder(few: Project) -> None:
    """A folder in which an environment still has its scratch space must stay, whatever ledgers there are."""
    for number in range(5):
        old_run(few, number)
    (few.root / "logs" / name_of(0) / "work").mkdir()
    assert [path.name for path in prune(few.settings())] == [name_of(1)]


def test_where_a_runs_logs_are_stays_with_it(few: Project) -> None:
    """A run whose logs are links into an environment's folder must keep that folder as long as it is kept itself."""
    for number in range(5):
        old_run(few, number)
    (few.root / "logs" / name_of(4) / "services" / "db.log").symlink_to(
        few.root / "logs" / name_of(0) / "services" / "web.log"
    )
    assert [path.name for path in prune(few.settings())] == [name_of(1)]


def test_what_is_up_keeps_its_folder(few: Project) -> None:
    """The folder of a kept environment must stay, however many runs come after, and go when it is down."""
    few.stack("s", {"one": service("say:up", "wait", ready=[{"log": "up"}])})
    done = run_in(few, *HARNESS, "up")
    assert done.code == 0, done.stderr
    (environment,) = names(few)
    for number in range(5):
        (few.root / "logs" / f"20991231-{number:06d}-0123abcd" / "services").mkdir(parents=True)
    (few.root / "logs" / "latest").unlink()
    assert prune(few.settings()) == [few.root / "logs" / f"20991231-{number:06d}-0123abcd" for number in range(2)]
    assert environment in names(few)
    done = run_in(few, *HARNESS, "down")
    assert done.code == 0, done.stderr
    assert [path.name for path in prune(few.settings())] == [environment]


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_of_runs_is_a_whole_one(project: Project, value: str) -> None:
    """Anything but a whole number from 1 on must be refused, with where it came from."""
    project.environ["HARNESS_KEEP_RUNS"] = value
    with pytest.raises(ConfigError, match=r"HARNESS_KEEP_RUNS\) is no whole number from 1 on"):
        project.settings()


@pytest.mark.parametrize(
    ("text", "says"), [("0", "from 1 on"), ("true", "a int was needed"), ('"5"', "a int was needed")]
)
def test_a_number_of_runs_in_the_table_is_checked(project: Project, text: str, says: str) -> None:
    """A number in pyproject.toml must be one, and be taken as it is."""
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text("[tool.harness]\nkeep-runs = 7\n")
    assert project.settings().keep_runs == 7
    pyproject.write_text(f"[tool.harness]\nkeep-runs = {text}\n")
    with pytest.raises(ConfigError, match=says):
        project.settings()
