"""Commits that images are built from: fetched once, exactly, and without telling anybody a password."""

from __future__ import annotations

import base64
import http.server
import os
import socket
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import procs
from harness.config.subjects import Subject, read_subjects
from harness.errors import ConfigError
from harness.images.git import check_out, folder_of, git_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PASSWORD = "hunter2-of-git"
OWN = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
OWN |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}


def git(folder: Path, *words: str) -> str:
    """Run git in a folder; return what it says."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = procs.run(["git", "-c", "protocol.file.allow=always", *words], timeout=60, env=environ | OWN, cwd=folder)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a commit that has a program and a link."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "one")
    return folder


def commit(folder: Path, text: str) -> str:
    """Commit a Dockerfile that says ``text``; return the commit."""
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app/Dockerfile").write_text(f"FROM scratch\nLABEL text={text}\n")
    (folder / "app/run.sh").write_text("#!/bin/sh\n")
    (folder / "app/run.sh").chmod(0o755)
    if not (folder / "app/link").is_symlink():
        (folder / "app/link").symlink_to("run.sh")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text)
    return git(folder, "rev-parse", "HEAD")


def subject(url: object, commit: str) -> Subject:
    """Return a subject that is built from a commit."""
    return read_subjects({"web": {"git": str(url), "commit": commit, "context": "app"}}, Path("/"), Path("p"))["web"]


def wanted(
    url: object,
    commit: str,
    tmp_path: Path,
    say: Callable[[str], object] = str,
    environ: Mapping[str, str] | None = None,
    within: float = 20,
) -> Path:
    """Check out a commit; return its folder."""
    environ = {**os.environ, **(environ or {})}
    return check_out(subject(url, commit), tmp_path / "cache/git", environ, say, within=within)


def test_a_commit_is_checked_out_as_it_is_and_fetched_once(origin: Path, tmp_path: Path) -> None:
    """A commit's files must be there with their modes and links, and a second time must need no repository."""
    first, said = git(origin, "rev-parse", "HEAD"), list[str]()
    second = commit(origin, "two")
    before = os.umask(0o077)
    try:
        place = wanted(origin, first, tmp_path, said.append)
    finally:
        os.umask(before)
    assert place == folder_of(subject(origin, first), tmp_path / "cache/git")
    assert "text=one" in (place / "app/Dockerfile").read_text()
    assert [(place / "app" / name).stat().st_mode & 0o777 for name in ("run.sh", "Dockerfile")] == [0o755, 0o644]
    assert (place / "app/link").readlink() == Path("run.sh")
    assert said == [f"subject 'web': fetching commit {first[:12]} of {origin}"]
    assert "text=two" in (wanted(origin, second, tmp_path) / "app/Dockerfile").read_text()
    origin.rename(tmp_path / "gone")
    assert wanted(origin, first, tmp_path, said.append) == place
    assert len(said) == 1
    assert sorted(path.name for path in place.parent.iterdir()) == sorted([first, second, "repository", "lock"])


def test_a_users_own_settings_change_no_file(origin: Path, tmp_path: Path) -> None:
    """Line ends, hooks and variables of a caller's git must not change what is checked out."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n")
    told = {"HOME": str(home), "GIT_DIR": str(tmp_path / "x"), "GIT_INDEX_FILE": str(tmp_path / "y")}
    place = wanted(origin, git(origin, "rev-parse", "HEAD"), tmp_path, environ=told)
    assert b"\r" not in (place / "app/Dockerfile").read_bytes()


def test_submodules_are_not_followed(origin: Path, tmp_path: Path) -> None:
    """The folder of a submodule must be empty, and nothing of it fetched."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    commit(other, "sub")
    git(origin, "submodule", "--quiet", "add", str(other), "sub")
    git(origin, "commit", "--quiet", "--message", "sub")
    place = wanted(origin, git(origin, "rev-parse", "HEAD"), tmp_path)
    assert not list((place / "sub").iterdir())


@pytest.mark.parametrize("case", ["no commit", "no repository", "no git", "never answers", "refused"])
def test_what_cannot_be_fetched_is_told_in_one_line(case: str, origin: Path, tmp_path: Path) -> None:
    """An error must name the table, the repository and why; and leave no folder that a later run would take."""
    here = git(origin, "rev-parse", "HEAD")
    nowhere = "0" * 39 + "1"
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as gone:
        hosts = ["{}:{}".format(*server.getsockname()) for server in (silent, gone)]
        gone.close()
        url, commit, environ, problem = {
            "no commit": (str(origin), nowhere, {}, f"commit {nowhere} does not exist in {origin}"),
            "no repository": (f"{tmp_path}/none", here, {}, f"repository {tmp_path}/none cannot be fetched: "),
            "no git": (str(origin), here, {"PATH": str(tmp_path)}, "a repository needs the program git"),
            "never answers": (f"git://{hosts[0]}/r", here, {}, "did not answer: no end in 2 s"),
            "refused": (f"http://u:{PASSWORD}@{hosts[1]}/r", here, {}, f"http://{hosts[1]}/r cannot be fetched: "),
        }[case]
        with pytest.raises(ConfigError) as caught:
            wanted(url, commit, tmp_path, environ=environ, within=2 if case == "never answers" else 20)
    assert caught.value.summary.startswith("p: [tool.harness.subjects.web]: ")
    assert problem in caught.value.summary
    assert PASSWORD not in str(caught.value)
    assert not folder_of(subject(url, commit), tmp_path / "cache/git").exists()


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """Gives files to who knows the password."""

    def do_GET(self) -> None:
        word = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {word}":
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=r")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded(origin: Path) -> Iterator[str]:
    """Where the repository is to be had with a password, as host and port."""
    git(origin, "update-server-info")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(origin / ".git"))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield "{}:{}".format(*server.server_address)
        server.shutdown()


def test_a_password_is_used_and_told_to_nobody(guarded: str, origin: Path, tmp_path: Path) -> None:
    """A password in a URL must reach the server; and be in no argument of a program, and in no file or name."""
    trace = tmp_path / "trace"
    url = f"http://me:{PASSWORD}@{guarded}/"
    traced = {"GIT_TRACE": str(trace), "GIT_CONFIG_NOSYSTEM": "1"}
    place = wanted(url, git(origin, "rev-parse", "HEAD"), tmp_path, environ=traced)
    assert (place / "app/Dockerfile").is_file()
    assert "remote-http" in trace.read_text()
    assert PASSWORD not in trace.read_text()
    for path in (tmp_path / "cache").rglob("*"):
        assert PASSWORD not in str(path)
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        wanted(f"http://me:wrong-{PASSWORD}@{guarded}/", "0" * 40, tmp_path)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("key", ["credential", 'credential "http://{}"'])
def test_a_password_in_a_url_is_given_to_no_helper_of_the_users(
    key: str, guarded: str, origin: Path, tmp_path: Path
) -> None:
    """What the user's git would ask for passwords, and tell them, must neither be asked nor told of one in a URL."""
    home = tmp_path / "home"
    home.mkdir()
    helper = f"store --file={home}/kept"
    (home / ".gitconfig").write_text(f"[{key.format(guarded)}]\n\thelper = {helper}\n\tusername = me\n")
    (home / "kept").write_text(f"http://me:another@{guarded}\n")
    alone = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    wanted(f"http://me:{PASSWORD}@{guarded}/", git(origin, "rev-parse", "HEAD"), tmp_path, environ=alone)
    assert (home / "kept").read_text() == f"http://me:another@{guarded}\n"


def test_a_password_that_the_users_helper_knows_is_used(guarded: str, origin: Path, tmp_path: Path) -> None:
    """Where a URL has no password, the helper of the user's git must be asked."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={home}/kept\n")
    (home / "kept").write_text(f"http://me:{PASSWORD}@{guarded}\n")
    alone = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    wanted(f"http://{guarded}/", git(origin, "rev-parse", "HEAD"), tmp_path, environ=alone)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/harness/git"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/harness/git"),
        ({}, "/state/git"),
    ],
)
def test_repositories_are_in_the_cache_folder(environ: dict[str, str], folder: str) -> None:
    """The folder must be the user's cache, and where there is none the state folder."""
    assert git_folder(environ, Path("/state")) == Path(folder)
