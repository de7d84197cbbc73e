"""What a CI service does with its file: jobs of it, with their matrices expanded, and their steps run as it runs them.

What is the service's own (checkout, Python, artifacts, workspaces) has a stand-in: a clone, a folder, copies of files.
A key that is not known is an error, so that none is written which would do nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import procs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BASH = ("bash", "--noprofile", "--norc")
SHELLS = {
    "github": (*BASH, "-e"),
    "gitlab": (*BASH, "-eo", "pipefail"),
    "circleci": (*BASH, "-eo", "pipefail"),
}


@dataclass(frozen=True)
class Step:
    """A step of a job.

    Attributes:
        run: what a shell is given, "" for a step of the service's own.
        does: what such a step does: checkout, python, engine, save, load or keep.
        paths: of files that it saves or keeps.
        always: whether it is done also when a step before it failed.
    """

    run: str = ""
    does: str = ""
    paths: tuple[str, ...] = ()
    always: bool = False


@dataclass(frozen=True)
class Job:
    """A job, one for each cell of its matrix."""

    ci: str
    name: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def jobs_of(ci: str, text: str) -> list[Job]:
    """Return the jobs of the file of a CI service, those that are needed by others first."""
    jobs = list({"github": _github, "gitlab": _gitlab, "circleci": _circleci}[ci](_load(text)))
    names = {job.name.split(" ")[0] for job in jobs}
    assert all(set(job.needs) <= names for job in jobs), jobs
    return sorted(jobs, key=lambda job: len(job.needs))


def _load(text: str) -> dict[str, Any]:
    class Strict(yaml.SafeLoader):
        """In YAML of these services `on` is a word."""

    Strict.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool" or letter in "tfTF"]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    document: dict[str, Any] = yaml.load(text, Loader=Strict)  # noqa: S506 - a SafeLoader with fewer words
    return document


def _only(table: Mapping[str, Any], *keys: str) -> None:
    unknown = set(table) - set(keys)
    assert not unknown, f"keys that are not known: {unknown}"


def _cells(matrix: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(matrix, cell, strict=True)) for cell in itertools.product(*matrix.values())]


def _named(name: str, cell: Mapping[str, str]) -> str:
    return f"{name} ({', '.join(cell.values())})" if cell else name


def _filled(text: str, pattern: str, values: Mapping[str, str]) -> str:
    """Return a text with the service's expressions replaced; one that has no value is an error."""
    return re.sub(pattern, lambda match: values[match[1]], text)


# -- GitHub Actions ----------------------------------------------------------------------------------------------------

_ACTIONS = {
    "checkout": ("checkout", {"persist-credentials"}),
    "cache/restore": ("state", {"path", "key", "restore-keys"}),
    "cache/save": ("state", {"path", "key"}),
    "setup-python": ("python", {"python-version"}),
    "upload-artifact": ("save", {"name", "path", "retention-days", "compression-level"}),
    "download-artifact": ("load", {"name"}),
}


def _github(document: dict[str, Any]) -> Iterator[Job]:
    _only(document, "name", "on", "permissions", "concurrency", "jobs")
    assert document["permissions"] == {"contents": "read"}
    for name, job in document["jobs"].items():
        _only(job, "needs", "strategy", "runs-on", "timeout-minutes", "steps")
        for cell in _cells(job.get("strategy", {}).get("matrix", {})):
            values = {f"matrix.{key}": value for key, value in cell.items()}
            steps = tuple(_github_step(step, values) for step in job["steps"])
            needs = (job["needs"],) if "needs" in job else ()
            yield Job("github", _named(name, cell), steps, needs)


def _github_step(step: dict[str, Any], values: Mapping[str, str]) -> Step:
    _only(step, "uses", "with", "run", "if", "timeout-minutes", "env")
    if "run" in step:
        return Step(_filled(step["run"], r"\$\{\{ ([\w.]+) \}\}", values))
    action, commit = re.fullmatch(r"actions/([\w/-]+)@([0-9a-f]{40})", step["uses"]).groups()  # type: ignore[union-attr]
    assert commit
    does, keys = _ACTIONS[action]
    given = step.get("with", {})
    _only(given, *keys)
    paths = tuple(path for path in given.get("path", "").split("\n") if path and not path.startswith("!"))
    kept = does == "save" and given["name"] != "images"
    return Step(does="keep" if kept else does, paths=paths, always=step.get("if") == "${{ !cancelled() }}")


# -- GitLab ------------------------------------------------------------------------------------------------------------


def _gitlab(document: dict[str, Any]) -> Iterator[Job]:
    jobs = {name: job for name, job in document.items() if name not in ("stages", "workflow", "default")}
    _only(document["default"], "image", "interruptible")
    for name, job in jobs.items():
        if name.startswith("."):
            continue
        whole = {**jobs.get(job.get("extends", ""), {}), **job}
        _only(
            whole, "stage", "extends", "needs", "parallel", "timeout", "script", "retry", "artifacts", "services",
            "variables", "cache",
        )  # fmt: skip
        _only(whole.get("cache", {}), "key", "paths", "when")
        assert whole["stage"] in document["stages"]
        _only(whole["artifacts"], "when", "expire_in", "paths", "reports")
        kept = whole["artifacts"].get("when") == "always"
        steps = [Step(does="checkout")]
        steps += [Step(does="load")] if whole.get("needs") else []
        steps += [Step("\n".join(whole["script"]))]
        paths = tuple(whole["artifacts"]["paths"])
        steps += [Step(does="keep" if kept else "save", paths=paths, always=kept)]
        for cell in itertools.chain.from_iterable(map(_cells, whole.get("parallel", {}).get("matrix", [{}]))):
            yield Job("gitlab", _named(name, cell), tuple(steps), tuple(whole.get("needs", ())), cell)


# -- CircleCI ----------------------------------------------------------------------------------------------------------


def _circleci(document: dict[str, Any]) -> Iterator[Job]:
    _only(document, "version", "jobs", "workflows")
    workflow, *scheduled = document["workflows"].values()
    for other in scheduled:  # which does the same at other times
        _only(other, "triggers", "jobs")
        assert other["jobs"] == workflow["jobs"]
    for entry in workflow["jobs"]:
        ((name, given),) = ({entry: {}} if isinstance(entry, str) else entry).items()
        job = document["jobs"][name]
        _only(job, "parameters", "docker", "machine", "steps", "environment")
        _only(given, "requires", "matrix")
        assert ("docker" in job) != ("machine" in job)
        for cell in _cells(given.get("matrix", {}).get("parameters", {})):
            assert set(cell) == set(job.get("parameters", {}))
            values = {f"parameters.{key}": value for key, value in cell.items()}
            steps = tuple(_circleci_step(step, values) for step in job["steps"])
            yield Job("circleci", _named(name, cell), steps, tuple(given.get("requires", ())))


def _circleci_step(step: str | dict[str, Any], values: Mapping[str, str]) -> Step:
    ((kind, given),) = ({step: {}} if isinstance(step, str) else step).items()
    if kind == "run":
        return Step(_filled(given, r"<< ([\w.]+) >>", values))
    does = {
        "checkout": "checkout",
        "setup_remote_docker": "engine",
        "persist_to_workspace": "save",
        "attach_workspace": "load",
        "store_artifacts": "keep",
        "store_test_results": "keep",
        "restore_cache": "state",
        "save_cache": "state",
    }[kind]
    return Step(does=does, paths=tuple(given.get("paths", [given["path"]] if "path" in given else ())), always=True)


# -- run them ----------------------------------------------------------------------------------------------------------

_VARIABLES = {
    "github": {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "push"},
    "gitlab": {"GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main"},
    "circleci": {"CIRCLECI": "true", "CIRCLE_BRANCH": "main"},
}
_FOLDERS = {"github": "GITHUB_WORKSPACE", "gitlab": "CI_PROJECT_DIR", "circleci": "CIRCLE_WORKING_DIRECTORY"}
_OURS = re.compile(r"(GITHUB|HARNESS|NOX|PYTEST|PYTHON|VIRTUAL_ENV|CI$|CI_|CIRCLE|GITLAB).*")


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        code: the exit code of the step that failed, 0 for none.
        said: what its steps wrote.
        kept: folder of what it keeps.
    """

    code: int
    said: str
    kept: Path


class Runner:
    """Runs jobs in turn, each in a clone of its own at the same place.

    Args:
        repository: what is cloned.
        scratch: a folder for all that is made.
        environ: more variables of every step, such as ``DOCKER_HOST``.
        python: folder of the program ``python`` that jobs have.
        timeout: seconds that a step may take.
    """

    def __init__(
        self, repository: Path, scratch: Path, environ: Mapping[str, str], *, python: Path, timeout: float
    ) -> None:
        self.repository, self.scratch, self.timeout = repository, scratch, timeout
        self.shell_pid = 0
        self.saved = scratch / "saved"
        self.work = scratch / "work" / "project"
        outside = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
        self.environ = {**outside, "PATH": f"{python}:{outside['PATH']}", "CI": "true", **environ}

    def variables(self, job: Job, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of a job's steps; ``more`` are of this job only."""
        own = {**_VARIABLES[job.ci], _FOLDERS[job.ci]: str(self.work)}
        if job.ci == "github":
            files = ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")
            own |= {name: str(self.scratch / name.lower()) for name in files}
        return {**self.environ, **own, **job.environ, **(more or {})}

    def run(self, job: Job, more: Mapping[str, str] | None = None) -> Ended:
        """Run a job as its service does, and return how it ended; ``more`` are variables of this job only."""
        shutil.rmtree(self.work, ignore_errors=True)
        kept, code = self.scratch / "kept" / job.name, 0
        log = self.scratch / f"{job.name}.log"
        for step in job.steps:
            if step.run and not code:
                with log.open("ab") as output:
                    output.write(f"\n$ {step.run}\n".encode())
                    output.flush()
                    code = self._shell(self.variables(job, more), job, step, output.fileno())
            elif not step.run and (step.always or not code):
                self._do(step, kept)
        return Ended(code, log.read_text(errors="replace"), kept)

    def _shell(self, environ: Mapping[str, str], job: Job, step: Step, output: int) -> int:
        script = self.scratch / "step.sh"
        script.write_text(step.run)
        argv = [*SHELLS[job.ci], str(script)]
        shell = procs.spawn(argv, env=environ, cwd=self.work, output=output)
        self.shell_pid = shell.pid
        try:
            return shell.wait(self.timeout)
        except BaseException:
            procs.kill_group(shell.pid, signal.SIGKILL)
            raise

    def _do(self, step: Step, kept: Path) -> None:
        if step.does == "checkout":
            clone = ["git", "clone", "--quiet", f"file://{self.repository}", str(self.work)]
            assert procs.run(clone, timeout=60, env=self.environ).code == 0
        elif step.does in ("save", "keep"):
            for path in step.paths:
                _copy(self.work / path, (self.saved if step.does == "save" else kept) / path)
        elif step.does == "load":
            for saved in self.saved.iterdir():
                _copy(saved, self.work / saved.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)  # a step before may have kept it
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)
