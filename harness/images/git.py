"""Commits of repositories that images are built from: fetched once, and checked out to a folder for each.

Both are in the user's cache folder: a bare repository for each URL, with the commits that were asked for and nothing of
their history, and beside it a folder for each commit. What is there is not fetched again. Submodules are not followed.
A password in a URL is given to git by variables: it is in no argument, file, message or name of a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from harness import procs
from harness.artifacts import cache_folder, private_folder
from harness.clock import Deadline
from harness.config.subjects import without_secrets
from harness.errors import ConfigError
from harness.ownership.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config.subjects import Subject

FETCH_BUDGET = 300.0
SLOWEST = 1000  # bytes a second; who is slower than that for SILENCE seconds is given up
SILENCE = 30
CONNECT = 10  # seconds for ssh
_TAIL = 5
# What a caller's git, such as one whose hook this is, says of its own repository.
_OF_CALLER = re.compile(
    r"GIT_(?:DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|NAMESPACE|PREFIX|QUARANTINE_PATH)"
)
_HELPER = '!f() { test "$1" = get && echo "username=$HARNESS_GIT_USER" && echo "password=$HARNESS_GIT_PASSWORD"; }; f'


def git_folder(environ: Mapping[str, str], state: Path) -> Path:
    """Return the folder of repositories: in the user's cache, or where there is none in the state folder."""
    return (cache_folder(environ) or state) / "git"


def folder_of(subject: Subject, folder: Path) -> Path:
    """Return where the commit of a subject is checked out, or will be."""
    return folder / hashlib.sha256(subject.repository.encode()).hexdigest()[:16] / subject.commit


def check_out(
    subject: Subject,
    folder: Path,
    environ: Mapping[str, str],
    say: Callable[[str], object],
    *,
    within: float = FETCH_BUDGET,
) -> Path:
    """Return the folder with the commit of a subject, fetched and checked out if that was not done before.

    Args:
        subject: which.
        folder: of repositories.
        environ: the variables of git.
        say: takes lines for people.
        within: seconds for all of it.

    Raises:
        ConfigError: there is no git, or no such repository or commit, or it did not answer in time.
    """
    place = folder_of(subject, folder)
    if place.is_dir():
        return place
    private_folder(folder.parent)
    private_folder(folder)
    private_folder(place.parent)
    deadline = Deadline.after(within)
    with locked(place.parent / "lock", within, purpose=f"fetching {subject.repository}"):
        if not place.is_dir():
            git = _Git(subject, place.parent / "repository", environ, deadline)
            if not git.has_commit():
                say(f"subject {subject.name!r}: fetching commit {subject.commit[:12]} of {subject.repository}")
                git.fetch()
            git.write(place)
    return place


def head_of(subject: Subject, environ: Mapping[str, str], *, within: float = FETCH_BUDGET) -> str:
    """Return the commit that HEAD of a subject's repository is now.

    Raises:
        ConfigError: there is no git, or no such repository, it has no commit, or it did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="harness-head-") as made:
        return _Git(subject, Path(made, "repository"), environ, Deadline.after(within)).head()


class _Git:
    """A bare repository of one URL. All methods raise ConfigError."""

    def __init__(self, subject: Subject, path: Path, environ: Mapping[str, str], deadline: Deadline) -> None:
        self._subject = subject
        self._path = path
        self._deadline = deadline
        self._environ = _environment(environ, subject.git)
        self._secrets = (
            [secret for secret in _user_of(subject.git) if secret] if subject.git != subject.repository else []
        )
        if not (path / "HEAD").is_file():
            self._must("be kept", "init", "--quiet", "--bare", "--template=", str(path), bare=False)

    def has_commit(self) -> bool:
        """Return whether the whole commit is here."""
        return self._run("rev-list", "--objects", "--max-count=1", "--no-walk", self._subject.commit).code == 0

    def fetch(self) -> None:
        """Fetch the commit alone; from a server that gives branches only, all of these."""
        fetch = ("fetch", "--quiet", "--no-recurse-submodules")
        alone = self._run(*fetch, "--depth=1", "--no-tags", "wanted", self._subject.commit)
        if alone.code == 0 and self.has_commit():
            return
        if alone.code is None:
            raise self._error("did not answer", alone)
        names = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        every = self._run(*fetch, "wanted", *names)
        if every.code != 0:
            raise self._error("cannot be fetched" if every.code is not None else "did not answer", every)
        if not self.has_commit():
            raise ConfigError(
                f"{self._subject.where}: commit {self._subject.commit} does not exist in {self._subject.repository}",
                hint="a commit that is on no branch or tag cannot be fetched; `git push` it, or name another",
            )

    def head(self) -> str:
        """Return the commit of the repository's HEAD."""
        done = self._run("ls-remote", "--quiet", "wanted", "HEAD")
        if done.code != 0:
            raise self._error("cannot be asked" if done.code is not None else "did not answer", done)
        commit = done.stdout.split()[:1]
        if not commit:
            raise ConfigError(f"{self._subject.where}: repository {self._subject.repository} has no commit yet")
        return commit[0]

    def write(self, place: Path) -> None:
        """Write the files of the commit to a folder, which is there whole or not at all."""
        with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as made:
            index, files = {"GIT_INDEX_FILE": str(Path(made, "index"))}, Path(made, "files")
            files.mkdir(mode=0o755)
            # What this user has set up for working on files is not theirs: an image is the same whoever builds it.
            plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1", **index}
            self._must("be read", "read-tree", self._subject.commit, more=plain)
            self._must("be written", "checkout-index", "--all", "--force", f"--prefix={files}/", more=plain, tree=files)
            _open(files)
            files.rename(place)

    def _must(
        self, verb: str, *words: str, more: Mapping[str, str] | None = None, tree: Path | None = None, bare: bool = True
    ) -> None:
        done = self._run(*words, more=more, tree=tree, bare=bare)
        if done.code != 0:
            raise self._error(f"cannot {verb}", done)

    def _run(
        self, *words: str, more: Mapping[str, str] | None = None, tree: Path | None = None, bare: bool = True
    ) -> procs.Finished:
        place = [f"--git-dir={self._path}"] if bare else []
        place += [f"--work-tree={tree}"] if tree else []
        budget = max(0.1, self._deadline.remaining())
        try:
            return procs.run(["git", *place, *words], timeout=budget, env={**self._environ, **(more or {})})
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self._subject.where}: a repository needs the program git, which is not in PATH",
                hint="install git, or set "
                f"{re.sub('[^A-Z0-9]', '_', self._subject.name.upper())}_CONTAINER to an image that is there",
            ) from error
        except OSError as error:
            raise ConfigError(f"{self._subject.where}: git cannot be run: {error.strerror}") from error

    def _error(self, problem: str, done: procs.Finished) -> ConfigError:
        words = [self._hidden(line) for line in done.stderr.splitlines() if line.strip()][-_TAIL:]
        cause = words[0].removeprefix("fatal: ") if words else done.ending(self._deadline.budget)
        if done.code is None:
            cause = f"no end in {self._deadline.budget:g} s"
        return ConfigError(
            f"{self._subject.where}: repository {self._subject.repository} {problem}: {cause}",
            details=words,
            hint="git's own settings apply (proxies, keys, credential helpers); it may not ask for a password here",
        )

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _user_of(url: str) -> tuple[str, str]:
    """Return the user and the password in a URL, decoded; "" for none."""
    parts = urlsplit(url) if "://" in url else None
    return (unquote(parts.username or ""), unquote(parts.password or "")) if parts else ("", "")


def _environment(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """Return the variables with which git asks nobody, waits for nobody for ever, and learns URL and password."""
    made = {name: value for name, value in environ.items() if not _OF_CALLER.fullmatch(name)}
    made |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
    made.setdefault("GIT_ASKPASS", "")
    made.setdefault("SSH_ASKPASS", "")
    made.setdefault("GIT_SSH_COMMAND", f"ssh -o BatchMode=yes -o ConnectTimeout={CONNECT}")
    shown = without_secrets(url)
    settings = [
        ("remote.wanted.url", shown),
        ("http.lowSpeedLimit", str(SLOWEST)),
        ("http.lowSpeedTime", str(SILENCE)),
        ("core.hooksPath", os.devnull),
        ("gc.auto", "0"),
    ]
    if shown != url:
        made["HARNESS_GIT_USER"], made["HARNESS_GIT_PASSWORD"] = _user_of(url)
        # An empty one ends the list of the user's own: they would be asked first, and told to keep what was used.
        settings += [("credential.helper", ""), ("credential.helper", _HELPER)]
    with contextlib.suppress(ValueError):
        start = int(made.get("GIT_CONFIG_COUNT") or 0)
        for number, (key, value) in enumerate(settings, start):
            made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        made["GIT_CONFIG_COUNT"] = str(start + len(settings))
    return made


def _open(folder: Path) -> None:
    """Give files the modes that their commit says, whatever this process' umask: they are part of an image."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
