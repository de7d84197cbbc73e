"""The files that PostgreSQL servers begin with: made once for each version and each set of options, then copied."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.artifacts import private_folder
from harness.engine.users import has_name, naming, unprivileged
from harness.errors import BrokenStack, HarnessError
from harness.stack import cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.engine.presets import Cluster
    from harness.engine.users import User

INITDB_BUDGET = 120.0
MOST = 8  # clusters that are kept, 35 MB each; the least used goes first
_PROGRAMS = ("initdb", "postgres")


def lay_down(cluster: Cluster, data: Path, user: User | None, scratch: Path, environ: Mapping[str, str]) -> None:
    """Have a server's data folder hold what it begins with, and nothing else: a stack that comes up begins anew.

    Args:
        cluster: what that is.
        data: the folder.
        user: who is to own it, None for the caller.
        scratch: a folder of the environment, in which ``user`` may pass.
        environ: tells where the cache is.

    Raises:
        BrokenStack: it could not be made; the error has what ``initdb`` said.
    """
    if data.is_dir():
        shutil.rmtree(data)
    cached = _cache(environ)
    kept = cached / cluster.key if cached else None
    with tempfile.TemporaryDirectory(prefix="initdb-", dir=scratch) as made:
        source = kept
        if source is None or not source.is_dir():
            source = _made(cluster, Path(made), user)
            if kept:
                _keep(source, kept)
        elif kept:
            os.utime(kept)
        copy = Path(made) / "copy"
        shutil.copytree(source, copy, symlinks=True)
        data.parent.mkdir(parents=True, exist_ok=True)
        # It belongs to root until it is complete: nobody can put a link in the way of what root writes.
        for folder, folders, files in os.walk(copy):
            for name in (*folders, *files):
                _own(Path(folder, name), user)
        copy.chmod(0o700)
        copy.rename(data)
        _own(data, user)


def install(cluster: Cluster) -> None:
    """Copy the programs to where they are to be run from, if that is another place than where they are."""
    if cluster.place == cluster.install or cluster.place.is_dir():
        return
    package, target = cluster.install.parent, cluster.place.parents[1]
    with tempfile.TemporaryDirectory(prefix="install-", dir=target.parent) as made:
        copy = Path(made) / "copy"
        programs = copy / package.name / cluster.install.name
        for name in ("lib", "share"):
            shutil.copytree(cluster.install / name, programs / name, symlinks=True)
        (programs / "bin").mkdir()
        for name in _PROGRAMS:
            shutil.copy2(cluster.install / "bin" / name, programs / "bin" / name)
        # What the programs are linked to is beside their package, and found there from where they are.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for folder, _, files in os.walk(copy):
            for path in (Path(folder), *(Path(folder, name) for name in files)):
                path.chmod(path.stat().st_mode | 0o055)
        with contextlib.suppress(OSError):  # another service of this environment was first
            copy.rename(target)


def _own(path: Path, user: User | None) -> None:
    if user:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def _cache(environ: Mapping[str, str]) -> Path | None:
    base = cache.folder_of(environ)
    try:
        return private_folder(base / "clusters") if base else None
    except HarnessError:
        return None


def _keep(source: Path, kept: Path) -> None:
    """Keep a copy, if that can be done: nobody depends on it."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix=".new-", dir=kept.parent) as made:
        copy = Path(made) / "copy"
        shutil.copytree(source, copy, symlinks=True)
        copy.rename(kept)
        entries = sorted((entry for entry in kept.parent.iterdir() if entry.name[0] != "."), key=_used)
        for entry in entries[: max(0, len(entries) - MOST)]:
            shutil.rmtree(entry, ignore_errors=True)


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _made(cluster: Cluster, folder: Path, user: User | None) -> Path:
    """Make a cluster in a folder, as somebody who may: ``initdb`` refuses root, and asks for the user's name."""
    maker = user if user is None or has_name(user.uid) else unprivileged()
    prefix = maker.launcher() if maker else naming()
    private = folder / "new"
    private.mkdir(mode=0o700)
    folder.chmod(0o711)
    target, word = private / "data", private / "password"
    word.touch(mode=0o600)
    word.write_text((cluster.password or "unused") + "\n")
    for path in (word, private):
        _own(path, maker)
    programs = cluster.place / "bin"
    initdb = [
        *prefix, str(programs / "initdb"), "-D", str(target), f"--username={cluster.user}", f"--pwfile={word}",
        "--auth-local=trust", f"--auth-host={cluster.method}", *cluster.arguments,
    ]  # fmt: skip
    _run(initdb, "initdb")
    word.unlink()
    with (target / "pg_hba.conf").open("a") as file:  # as the images add it
        file.write(f"\nhost all all all {cluster.method}\n")
    if cluster.database != "postgres":
        single = [*prefix, str(programs / "postgres"), "--single", "-F", "-D", str(target), "postgres"]
        quoted = cluster.database.replace('"', '""')
        _run(single, "postgres --single", f'CREATE DATABASE "{quoted}"\n')
    return target


def _run(argv: Sequence[str], name: str, given: str = "") -> None:
    """Run a program, with a text on its standard input. Raises BrokenStack when it does not succeed."""
    try:
        done = procs.run(argv, timeout=INITDB_BUDGET, cwd="/", env={"PATH": os.defpath, "LC_ALL": "C"}, given=given)
    except OSError as error:
        raise BrokenStack(f"{error.filename or name} cannot be run: {error.strerror}") from error
    lines = (done.stderr or done.stdout).strip().splitlines()
    # In its single mode the server succeeds whatever becomes of a statement.
    refused = next((line for line in lines if "FATAL: " in line or "ERROR: " in line), "")
    if done.code != 0 or refused:
        cause = refused or next((line for line in lines if "error:" in line), lines[-1] if lines else "")
        raise BrokenStack(f"{name}: {done.ending(INITDB_BUDGET)}: {cause}", details=lines[-10:])
