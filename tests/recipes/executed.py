"""This project's own files for CI services, every step of them run as it is written: `nox -s recipes`.

A job of GitHub has the engine of this machine. Those of GitLab and CircleCI have one on another machine, each its own
(`remote`), which reaches no registry: where such a job builds images, the engine has before what GitHub's has built.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import remote
from checkout import ROOT
from ci_runner import Ended, Job, Runner, jobs_of

from harness import procs
from harness.daemon import connect, find_daemon
from harness.errors import HarnessError
from harness.images import archives
from harness.images.records import by_content
from harness.recipes import CIS, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.daemon import Daemon
    from harness.images.archives import Contents, Held

JOBS = {f"{ci} {job.name}": job for ci in CIS for job in jobs_of(ci, (ROOT / path_of(ci)).read_text())}
HERE = "github"
ARCHIVE = "images.tar.zst"
STEP_BUDGET = 2400.0
LOAD_BUDGET = 600.0


class Service:
    """Runs jobs of CI services, each once, and those that it needs before; with a Python that has nothing installed.

    Args:
        folder: for all that is made.
    """

    def __init__(self, folder: Path) -> None:
        self._ended: dict[str, Ended] = {}
        repository = folder / "repository"  # so all jobs are of one commit, whatever is committed meanwhile
        done = procs.run(["git", "clone", "--quiet", "--bare", f"file://{ROOT}", str(repository)], timeout=120)
        assert done.code == 0, done.stderr
        self._runners = {ci: _runner(repository, folder, ci) for ci in CIS}

    def run(self, name: str) -> Ended:
        """Return how a job ended; it is run when nobody asked before."""
        if name not in self._ended:
            job = JOBS[name]
            for needed in job.needs:
                assert self.run(f"{job.ci} {needed}").code == 0, f"{needed} did not pass, which {name} needs"
            with self._engine(job) as variables:
                self._ended[name] = self._runners[job.ci].run(job, variables)
        return self._ended[name]

    def archive(self, ci: str) -> Contents:
        """Return what a service's job has saved."""
        return archives.describe(self._runners[ci].saved / ARCHIVE)

    @contextlib.contextmanager
    def _engine(self, job: Job) -> Iterator[Mapping[str, str]]:
        """Give the variables that name the engine of a job."""
        # Nothing is known of what a job before it has built.
        cache = {"XDG_CACHE_HOME": str(self._runners[job.ci].scratch / f"cache of {job.name}")}
        if job.ci == HERE or not _needs_engine(job):
            yield cache if job.ci == HERE else {**cache, "DOCKER_HOST": "unix:///var/empty/no-engine.sock"}
            return
        before = self._archive_of_here() if not job.needs else None
        with remote.engine(self._runners[job.ci].scratch) as daemon:
            if before:
                with contextlib.closing(connect(daemon, timeout=LOAD_BUDGET)) as client:
                    archives.load(client, before)
            yield {**cache, "DOCKER_HOST": daemon.host}

    def _archive_of_here(self) -> Path:
        assert self.run(f"{HERE} images").code == 0
        return self._runners[HERE].saved / ARCHIVE


def _runner(repository: Path, folder: Path, ci: str) -> Runner:
    scratch, state = folder / ci, folder / "state"
    scratch.mkdir()
    state.mkdir(mode=0o700, exist_ok=True)
    done = procs.run([sys.executable, "-m", "venv", str(scratch / "python")], timeout=120)
    assert done.code == 0, done.stderr
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    downloads = {  # of packages, which a service keeps near, too
        name: os.environ.get(name) or str(caches / folder)
        for name, folder in (("UV_CACHE_DIR", "uv"), ("PIP_CACHE_DIR", "pip"))
    }
    environ = {"XDG_RUNTIME_DIR": str(state), **downloads}
    return Runner(repository, scratch, environ, python=scratch / "python" / "bin", timeout=STEP_BUDGET)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """What runs the jobs."""
    return Service(tmp_path_factory.mktemp("ci"))


@pytest.mark.parametrize("name", JOBS)
def test_a_job_passes_as_it_is_written(service: Service, name: str) -> None:
    """Each job must pass, on what was committed; that of a suite leaves what its tests came to, and builds nothing."""
    job = JOBS[name]
    if _needs_engine(job) and _engine_here() is None:
        pytest.skip("no Docker engine answers")
    ended = service.run(name)
    print(ended.said)
    assert ended.code == 0
    if _is_suite(job):
        assert list(ended.kept.glob("logs/2*/junit.xml"))
    if job.needs:
        _has_run_what_was_saved(ended, service.archive(job.ci))
    elif not _is_suite(job):
        _says_what_was_saved(ended, service.archive(job.ci))


def _says_what_was_saved(ended: Ended, saved: Contents) -> None:
    """Each image goes with its id, and by a name of what it is made of besides its checkout's, or is a base."""
    for image in saved.images:
        assert _is_told(image, ended)
    assert any(len(image.names) > 1 for image in saved.images)


def _has_run_what_was_saved(ended: Ended, saved: Contents) -> None:
    """Every image that the job ran is in the archive, by the name of what it is made of here, and none was built."""
    named = {name: image for image in saved.images for name in image.names}
    for image in saved.images:
        assert _is_told(image, ended), f"{image} was not loaded"
    runs = [json.loads(path.read_text()) for path in ended.kept.glob("logs/2*/run.json")]
    ran = [image for run in runs for image in run.get("service_images", ())]
    assert ran
    for image in ran:
        assert image["strategy"] == "build"
        held = named.get(by_content(image["name"], image["fingerprint"]))
        assert held is not None, f"{image} was not saved"
        assert image["id"] in held.ids
    assert [span for run in runs for span in run["spans"] if span["stage"] == "build"] == []


def _is_told(image: Held, ended: Ended) -> bool:
    return any(f"{image} {digest}" in ended.said for digest in image.ids)


def _is_suite(job: Job) -> bool:
    return any(" -s integration " in step.run for step in job.steps)


def _needs_engine(job: Job) -> bool:
    return any("--engine compose" in step.run or "images -- " in step.run for step in job.steps)


def _engine_here() -> Daemon | None:
    try:
        return find_daemon(os.environ)
    except HarnessError:
        return None
