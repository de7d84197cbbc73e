"""This project's own files for CI services, every step of them run as it is written: `nox -s recipes`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from ci_runner import Job, Runner, jobs_of

from harness import procs
from harness.daemon import find_daemon
from harness.errors import HarnessError
from harness.recipes import CIS, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping

JOBS = {f"{ci} {job.name}": job for ci in CIS for job in jobs_of(ci, (ROOT / path_of(ci)).read_text())}
STEP_BUDGET = 2400.0


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Runner]:
    """What runs the jobs of each service, with a Python that has nothing installed."""
    folder = tmp_path_factory.mktemp("ci")
    state = folder / "state"
    state.mkdir(mode=0o700)
    made = {}
    for ci in CIS:
        (folder / ci).mkdir()
        venv = folder / ci / "python"
        done = procs.run([sys.executable, "-m", "venv", str(venv)], timeout=120)
        assert done.code == 0, done.stderr
        made[ci] = Runner(ROOT, folder / ci, {"XDG_RUNTIME_DIR": str(state)}, python=venv / "bin", timeout=STEP_BUDGET)
    return made


@pytest.mark.parametrize("name", JOBS)
def test_a_job_passes_as_it_is_written(runners: Mapping[str, Runner], name: str) -> None:
    """Each job must pass, on what was committed; that of a suite must leave what its tests came to."""
    job = JOBS[name]
    runner = runners[job.ci]
    if _needs_engine(job) and not _has_engine(runner):
        pytest.skip("no Docker engine answers")
    ended = runner.run(job)
    print(ended.said)
    assert ended.code == 0
    if job.needs or not _needs_engine(job):
        assert list(ended.kept.glob("logs/2*/junit.xml"))
        # What was loaded is what is run.
        assert "Successfully built" not in ended.said


def _needs_engine(job: Job) -> bool:
    return bool(job.needs) or any("--engine compose" in step.run or "images -- " in step.run for step in job.steps)


def _has_engine(runner: Runner) -> bool:
    try:
        find_daemon(runner.environ)
    except HarnessError:
        return False
    return True
