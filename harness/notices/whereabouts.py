"""Where a run takes place, for people: project, branch and commit, and where it can be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import procs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BUDGET = 5.0


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def project_of(environ: Mapping[str, str], root: Path) -> str:
    """Return what a project is called: by its CI service, else its folder's name."""
    return _first(environ, "GITHUB_REPOSITORY", "CI_PROJECT_PATH", "CIRCLE_PROJECT_REPONAME") or root.name


def branch_of(environ: Mapping[str, str], root: Path) -> str:
    """Return the branch that is tested, "" where there is none, as in a checkout of a commit."""
    told = _first(
        environ,
        "GITHUB_HEAD_REF",  # of a pull request
        "GITHUB_REF_NAME",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        "CI_COMMIT_REF_NAME",
        "CIRCLE_BRANCH",
    )
    branch = told or _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    return "" if branch == "HEAD" else branch


def commit_of(environ: Mapping[str, str], root: Path) -> str:
    """Return the commit that is tested, shortened, "" where there is none."""
    told = _first(environ, "GITHUB_SHA", "CI_COMMIT_SHA", "CIRCLE_SHA1")
    return (told or _git(root, "rev-parse", "HEAD"))[:12]


def link_of(environ: Mapping[str, str], runs: str, folder: Path | None) -> str:
    """Return where a run can be looked at: below the address ``runs``, else at its CI service, else its path."""
    if runs and folder:
        return f"{runs.rstrip('/')}/{folder.name}/"
    if environ.get("GITHUB_RUN_ID") and environ.get("GITHUB_REPOSITORY"):
        server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
        return f"{server}/{environ['GITHUB_REPOSITORY']}/actions/runs/{environ['GITHUB_RUN_ID']}"
    return _first(environ, "CI_JOB_URL", "CIRCLE_BUILD_URL") or (str(folder) if folder else "")


def _git(root: Path, *words: str) -> str:
    try:
        done = procs.run(["git", "-C", str(root), *words], timeout=_BUDGET)
    except OSError:  # no Git
        return ""
    return done.stdout.strip() if done.code == 0 else ""
