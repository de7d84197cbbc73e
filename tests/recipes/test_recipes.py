"""The files that `harness new --ci` writes: what they are, and that their steps do what they say."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from checkout import ROOT
from ci_runner import Job, Runner, jobs_of
from projects import Project, run_in, web

from harness import procs
from harness.clock import Deadline, poll
from harness.config import load_settings, read_sources
from harness.errors import ConfigError
from harness.recipes import CIS, Mode, Recipe, Suite, mode_of, more_of, path_of, text_of
from harness.verbs.new import recipe_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
PLAIN = Suite("plain", builds=True)
WITHIN = Suite("within", inside=True, embedded="service 'a' has no x-harness.embedded", builds=True)
NEITHER = Suite("neither", embedded="service 'a' has no x-harness.embedded")
UNNAMED = Suite(builds=True)
RECIPES = {
    "containers": Recipe(((PLAIN, Mode.COMPOSE),)),
    "processes": Recipe(((PLAIN, Mode.EMBEDDED),), python="3.13", logs="kept/runs"),
    "inside": Recipe(((WITHIN, Mode.INSIDE),)),
    "both": Recipe(((PLAIN, Mode.EMBEDDED), (WITHIN, Mode.INSIDE), (Suite("second"), Mode.EMBEDDED))),
    "unnamed": Recipe(((UNNAMED, Mode.EMBEDDED),)),
    "scheduled": Recipe(
        ((PLAIN, Mode.EMBEDDED), (Suite("second"), Mode.EMBEDDED)), schedule=True, secrets=("NOTICE_MAIL", "NOTICE_X")
    ),
    "unnamed inside": Recipe(((UNNAMED, Mode.INSIDE),)),
}
FIT = [(ci, name) for ci in CIS for name in RECIPES if not (ci == "gitlab" and name == "containers")]


@pytest.mark.parametrize("ci", CIS)
def test_what_is_committed_is_what_would_be_written(ci: str) -> None:
    """This project's own files must be what `harness new --ci` writes: `--force` writes them anew."""
    settings = load_settings(read_sources(ROOT, {"PATH": os.environ["PATH"]}))
    assert recipe_difference(settings, ci) == ""


@pytest.mark.parametrize(
    ("ci", "suite", "engine", "mode"),
    [
        ("github", PLAIN, "auto", Mode.COMPOSE),
        ("github", WITHIN, "auto", Mode.COMPOSE),
        ("github", PLAIN, "embedded", Mode.EMBEDDED),
        ("gitlab", PLAIN, "auto", Mode.EMBEDDED),
        ("gitlab", WITHIN, "auto", Mode.INSIDE),
        ("gitlab", WITHIN, "compose", Mode.INSIDE),
        ("circleci", PLAIN, "auto", Mode.EMBEDDED),
        ("circleci", PLAIN, "compose", Mode.COMPOSE),
        ("circleci", WITHIN, "auto", Mode.INSIDE),
        ("circleci", NEITHER, "auto", Mode.COMPOSE),
        ("circleci", Suite("rusty", needs=("cargo",)), "auto", Mode.COMPOSE),
        ("gitlab", Suite("rusty", needs=("cargo",)), "embedded", Mode.EMBEDDED),
    ],
)
def test_a_suite_runs_where_the_job_can_have_it(ci: str, suite: Suite, engine: str, mode: Mode) -> None:
    """A suite must run on the engine that was chosen, else on what its job has."""
    assert mode_of(ci, suite, engine) is mode


@pytest.mark.parametrize(
    ("ci", "suite", "engine", "says"),
    [
        ("gitlab", PLAIN, "compose", "The suite of system 'plain' cannot run in a job of GitLab"),
        ("gitlab", NEITHER, "auto", "nor can it be local processes: service 'a' has no x-harness.embedded"),
        ("gitlab", Suite("rusty", needs=("cargo",)), "auto", "be local processes: they need cargo, beside Python"),
        ("github", NEITHER, "embedded", "The suite of system 'neither' cannot be local processes: service 'a'"),
        ("github", PLAIN, "attach", "Engine 'attach' is none that a job of CI can have"),
    ],
)
def test_a_suite_that_can_run_nowhere_is_refused(ci: str, suite: Suite, engine: str, says: str) -> None:
    """What no job can run must be refused with the reason."""
    with pytest.raises(ConfigError, match=re.escape(says)):
        mode_of(ci, suite, engine)


@pytest.mark.parametrize(("ci", "name"), FIT)
def test_the_only_command_is_nox(ci: str, name: str) -> None:
    """Whatever a recipe is of, a job must install Nox and run it, and nothing else of the project's."""
    for job in jobs_of(ci, text_of(ci, RECIPES[name])):
        lines = [line for step in job.steps for line in step.run.splitlines()]
        assert lines[0] == "python -m pip install --quiet 'nox[uv]'"
        assert all(re.fullmatch(r"(exec )?python -m nox -s (images|integration) -- .*", line) for line in lines[1:])
        assert lines[1:]
        assert job.steps[0].does == "checkout"


@pytest.mark.parametrize(("ci", "name"), FIT)
def test_each_suite_has_a_job_that_keeps_its_logs(ci: str, name: str) -> None:
    """Each suite must run in one job, on its mode, after the images are there; its logs be kept, too."""
    recipe = RECIPES[name]
    suites = [job for job in jobs_of(ci, text_of(ci, recipe)) if job.name != "images"]
    assert len(suites) == len(recipe.suites)
    for suite, mode in recipe.suites:
        (job,) = [job for job in suites if suite.system in job.name and _runs(job, mode)]
        loads = any("images -- load" in step.run for step in job.steps)
        assert (loads, job.needs) == ((True, ("images",)) if recipe.saves(mode) else (False, ()))
        assert any(step.does == "keep" and step.always for step in job.steps)
        assert all(path.rstrip("/") == recipe.logs for step in job.steps if step.does == "keep" for path in step.paths)


def _runs(job: Job, mode: Mode) -> bool:
    return any(
        step.run.splitlines()[-1:] and step.run.splitlines()[-1].endswith(f" {mode.value}") for step in job.steps
    )


@pytest.mark.parametrize(("ci", "name"), FIT)
def test_nothing_that_can_be_moved_is_used_and_nothing_secret(ci: str, name: str) -> None:
    """Actions must be pinned by commit, images of machines by version, and no secret be in the file."""
    text = text_of(ci, RECIPES[name])
    assert not re.search(r"uses: (?!actions/[\w-]+@[0-9a-f]{40} # v[\d.]+$)", text, re.MULTILINE)
    assert not re.search(r"latest(?!/\*\*)|:current|secrets\.|TOKEN|PASSWORD|set -x", text)


def test_the_schedule_of_github_has_the_secrets() -> None:
    """Every half an hour and by hand, all suites must run with the URLs of those who are told, and with the state."""
    ((path, text),) = more_of("github", RECIPES["scheduled"]).items()
    assert path == ".github/workflows/integration-schedule.yml"
    assert not re.search(r"uses: (?!actions/[\w/-]+@[0-9a-f]{40} # v[\d.]+$)", text, re.MULTILINE)
    document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes only texts
    assert document["on"] == {"schedule": [{"cron": "*/30 * * * *"}], "workflow_dispatch": ""}
    assert document["concurrency"]["cancel-in-progress"] == "false"
    (job,) = jobs_of("github", text)
    assert [step.run for step in job.steps if step.run][1:] == [
        "exec python -m nox -s integration -- all --engine embedded"
    ]
    assert [step.does for step in job.steps] == ["checkout", "python", "", "state", "", "state", "keep"]
    (run,) = [step for step in document["jobs"]["integration"]["steps"] if "env" in step]
    assert run["run"].startswith("exec python -m nox")
    assert run["env"] == {
        "HARNESS_NOTICES_STATE": ".harness-state/notices.json",
        "HARNESS_FLAKES": ".harness-state/flakes.json",
        "NOTICE_MAIL": "${{ secrets.NOTICE_MAIL }}",
        "NOTICE_X": "${{ secrets.NOTICE_X }}",
    }
    assert text.count("secrets.") == 2
    kept = [step["with"]["key"] for step in document["jobs"]["integration"]["steps"] if "key" in step.get("with", {})]
    # A cache is written once: a job that is run again would find what it began with, and not keep how it ended.
    assert kept == [".harness-state-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}"] * 2


@pytest.mark.parametrize(("ci", "name"), FIT)
def test_only_who_is_told_has_a_schedule(ci: str, name: str) -> None:
    """Without notices nothing must be scheduled or kept; with them the state must be, and nothing secret be written."""
    text = text_of(ci, RECIPES[name])
    assert more_of(ci, RECIPES[name]).keys() == ({".github/workflows/integration-schedule.yml"} if (ci, name) == (
        "github", "scheduled") else set())  # fmt: skip
    scheduled = name == "scheduled" and ci != "github"
    assert ("HARNESS_NOTICES_STATE: .harness-state/notices.json" in text) == scheduled
    assert ("30 * * * *" in text) == scheduled
    assert "NOTICE_MAIL" not in text


# -- the task ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def suite(project: Project) -> Iterator[Project]:
    """A project with one system of a service, whose suite passes; a repository."""
    project.stack("s", {"web": web()})
    (project.root / "pyproject.toml").write_text(
        '[tool.harness]\n[tool.harness.systems.it]\ntests = "suite"\nstacks = ["s"]\ndefault = "s"\n'
    )
    (project.root / "suite").mkdir()
    (project.root / "suite" / "test_it.py").write_text("def test_it(stack): stack.endpoint('web', 8080)\n")
    (project.root / ".gitignore").write_text("logs/\n.nox/\n")
    project.environ |= {"HARNESS_ENGINE": ""}
    yield project
    assert project.processes() == {}


def new(project: Project, *words: str, code: int = 0) -> procs.Finished:
    done = run_in(project, *HARNESS, "new", *words)
    assert (done.code, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done


def test_a_file_that_was_changed_is_not_overwritten(suite: Project) -> None:
    """What says something else must be left as it is, shown by ``--check``, and overwritten by ``--force`` only."""
    path = suite.root / path_of("github")
    assert "+name: integration" in new(suite, "--ci", "github", "--check", code=10).stdout
    assert not path.exists()
    assert new(suite, "--ci", "github").stdout.split() == [path_of("github"), "noxfile.py"]
    text = path.read_text()
    assert "is what would be written" in new(suite, "--ci", "github").stderr
    new(suite, "--ci", "github", "--check")
    path.write_text(text.replace("workflow_dispatch", "workflow_call"))
    refused = new(suite, "--ci", "github", code=10)
    assert f"{path_of('github')} is there already and says something else" in refused.stderr
    assert "workflow_call" in path.read_text()
    checked = new(suite, "--ci", "github", "--check", code=10)
    assert "-  workflow_call:\n+  workflow_dispatch:" in checked.stdout
    new(suite, "--ci", "github", "--force")
    assert path.read_text() == text


def test_words_that_cannot_be_are_refused(suite: Project) -> None:
    """A service that is not known, flags that exclude each other, a noxfile without the session: each must be told."""
    assert "did you mean 'github'?" in new(suite, "--ci", "githubb", code=10).stderr
    assert "exclude each other" in new(suite, "--ci", "github", "--check", "--force", code=10).stderr
    assert "x-harness.embedded" not in new(suite, "--ci", "gitlab", "--engine", "embedded").stderr
    (suite.root / "noxfile.py").write_text("import nox\n")
    refused = new(suite, "--ci", "github", code=10)
    assert "next: write into it: from harness.nox_sessions import images, integration" in refused.stderr
    assert "--stack NAME, or --ci" in new(suite, code=10).stderr


def test_a_system_that_needs_more_than_python_is_left_out_where_it_can_have_no_containers(suite: Project) -> None:
    """Where the others have jobs, that one must be named in the file; alone it is refused; on GitHub it has one."""
    table = (suite.root / "pyproject.toml").read_text()
    rusty = table + '[tool.harness.systems.rusty]\ntests = "suite"\nstacks = ["s"]\ndefault = "s"\nneeds = ["cargo"]\n'
    (suite.root / "pyproject.toml").write_text(rusty)
    new(suite, "--ci", "gitlab")
    text = (suite.root / path_of("gitlab")).read_text()
    assert "# No job for rusty: it can neither have containers nor cargo there.\n" in text
    assert [job.name for job in jobs_of("gitlab", text)] == ["integration (it)"]
    new(suite, "--ci", "github")
    assert "matrix: {system: [it, rusty]}" in (suite.root / path_of("github")).read_text()
    (suite.root / "pyproject.toml").write_text(rusty.replace("[tool.harness.systems.it]", "[tool.other]"))
    assert "they need cargo" in new(suite, "--ci", "gitlab", "--check", code=10).stderr
    (suite.root / "pyproject.toml").write_text(rusty.replace('["cargo"]', "[1]"))
    assert "needs is [1], a list of programs was needed" in new(suite, "--ci", "github", code=10).stderr


def test_a_system_whose_name_is_a_command_is_refused(suite: Project) -> None:
    """A name that a shell would take for more than a name must not come into a job."""
    (suite.root / "pyproject.toml").write_text('[tool.harness.systems."a; rm -rf b"]\ndefault = "s"\n')
    assert "has a name that no job can be given" in new(suite, "--ci", "github", code=10).stderr


# -- executed ----------------------------------------------------------------------------------------------------------


def runner_of(project: Project, tmp_path: Path) -> Runner:
    """Commit a project, and return what runs its jobs, with the Python of these tests."""
    noxfile = project.root / "noxfile.py"
    noxfile.write_text(noxfile.read_text() + '\nimport nox\nnox.options.default_venv_backend = "none"\n')
    who = ("-c", "user.name=Tests", "-c", "user.email=tests@localhost")
    for words in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message=all")):
        done = procs.run(["git", *words], timeout=60, cwd=project.root, env=project.environ)
        assert done.code == 0, done.stderr
    environ = {"XDG_RUNTIME_DIR": str(project.state), "NOX_SCRIPT_MODE": "none"}
    (tmp_path / "ci").mkdir()
    return Runner(project.root, tmp_path / "ci", environ, python=Path(sys.executable).parent, timeout=120)


TESTS = {
    "passes": ("def test_it(stack): stack.endpoint('web', 8080)\n", 0),
    "fails": ("def test_it(stack): assert False\n", 1),
    "breaks": (
        "import os\ndef test_it(stack):\n    os.kill(stack.service('web').pid, 9)\n    stack.wait()\n",
        12,
    ),
}


@pytest.mark.parametrize("ci", CIS)
@pytest.mark.parametrize("name", TESTS)
def test_steps_do_as_they_are_written(suite: Project, tmp_path: Path, ci: str, name: str) -> None:
    """The steps of a job, run as they are in a clone, must end with the suite's code and leave its logs to be kept."""
    text, code = TESTS[name]
    (suite.root / "suite" / "test_it.py").write_text(text)
    new(suite, "--ci", ci, "--engine", "embedded")
    runner = runner_of(suite, tmp_path)
    (job,) = jobs_of(ci, (suite.root / path_of(ci)).read_text())
    ended = runner.run(job)
    assert ended.code == code, ended.said
    (junit,) = ended.kept.glob("logs/2*/junit.xml")
    assert 'name="test_it"' in junit.read_text()


def test_a_job_that_is_cancelled_gives_back_what_it_has(suite: Project, tmp_path: Path) -> None:
    """TERM to the shell of a step must end the suite, and leave nothing."""
    (suite.root / "suite" / "test_it.py").write_text(
        "import signal\ndef test_it(stack):\n    open('running', 'w').close()\n    signal.pause()\n"
    )
    new(suite, "--ci", "github", "--engine", "embedded")
    runner = runner_of(suite, tmp_path)
    (job,) = jobs_of("github", (suite.root / path_of("github")).read_text())
    ended = []
    thread = threading.Thread(target=lambda: ended.append(runner.run(job)))
    thread.start()
    for _ in poll(Deadline.after(60)):
        if (runner.work / "running").exists():
            break
    os.kill(runner.shell_pid, signal.SIGTERM)
    thread.join(60)
    assert ended[0].code == 130, ended[0].said
