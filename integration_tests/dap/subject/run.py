"""``python run.py PROGRAM [WORD ...]``: become one of the subjects, which Cargo or npm makes here if they were not yet.

``python run.py --build`` makes those of draft 02, and becomes none.

Programs are kept by what they are made of, in the user's cache folder; what several of them share is compiled once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import procs
from harness.artifacts import cache_folder

HERE = Path(__file__).resolve().parent
BUILD = "--build"
LATER = HERE.parent / "dap09"
NODE = HERE.parents[1] / "interop/telehash/implementations/node/prepare.py"
"""Who knows where Node.js is."""
WASM = "wasm32-unknown-unknown"
WORKER = ("*.rs", "*.toml", "*.lock", "*.mjs", "*.json")
OTHERS = frozenset(["target", "node_modules", "worker"])
BUDGET = 1500.0
"""Seconds for a build: it compiles some 270 crates."""
KEPT = 5
"""Versions that are kept, of each project."""
MISSING = (
    "there is no cargo here, which makes the subjects of DAP: install Rust 1.85 or later, by rustup"
    " or as Debian's packages rustc-web and cargo-web, with a C compiler"
)


@dataclass(frozen=True)
class Project:
    """What is made at once.

    Attributes:
        folder: where it is made.
        place: the folder of the cache that its versions are in.
        target: the one that Cargo compiles in.
        programs: what it makes.
        sources: folders of what it is made of, of files by these ends.
        ends: these.
        apart: names of folders in those that are no part of it.
    """

    folder: Path
    place: str
    target: str
    programs: tuple[str, ...]
    sources: tuple[Path, ...]
    ends: tuple[str, ...] = ("*.rs", "*.toml", "*.lock")
    apart: frozenset[str] = frozenset(["target", "node_modules"])

    def digest(self) -> str:
        """Return what the programs are made of, as one word."""
        listed = {path for folder in self.sources for end in self.ends for path in folder.rglob(end)}
        whole = hashlib.sha256()
        for path in sorted(listed):
            name = os.path.relpath(path, self.folder)
            if not self.apart.intersection(Path(name).parts):
                whole.update(f"{name}\0".encode())
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()[:20]

    def build(self, cache: Path, part: Path) -> None:
        """Make all programs in a folder. Exits with the maker's own words when they cannot be made."""
        self.cargo("build", cache)
        for program in self.programs:
            shutil.copy2(cache / self.target / "release" / program, part / program)

    def cargo(self, command: str, cache: Path, *words: str) -> None:
        """Have Cargo do something with the sources. Exits when there is none, or when it fails."""
        cargo = shutil.which("cargo")
        if not cargo:
            sys.exit(MISSING)
        print("dap: the subjects are compiled, which takes some minutes at first", flush=True)
        argv = [cargo, command, "--release", "--locked", f"--target-dir={cache / self.target}", *words]
        _do(argv, self.folder, f"cargo {command}")

    def command(self, place: Path, program: str) -> list[str]:
        """Return how a program is started that was made in a folder."""
        return [str(place / program)]


class Packages(Project):
    """One program of Node.js, with the packages that it needs."""

    main = "client.js"

    def build(self, cache: Path, part: Path) -> None:
        """Put the program's sources there, and the packages of its lock file."""
        del cache
        _, npm = _node()
        for kind in ("*.js", "*.mjs", "*.json"):
            for path in self.folder.glob(kind):
                shutil.copy2(path, part / path.name)
        _do([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], part, "npm ci")

    def command(self, place: Path, program: str) -> list[str]:
        """Return how it is started by the Node.js of today; that of its making may be gone."""
        del program
        node, _ = _node()
        return [node, str(place / self.main)]


class Worker(Packages):
    """Daphne's Worker: WebAssembly, JavaScript for it, and workerd, which runs both."""

    main = "serve.mjs"

    def build(self, cache: Path, part: Path) -> None:
        """Make its modules, with what runs them. Exits with the words of what cannot be done."""
        super().build(cache, part)
        self.cargo("build", cache, "--package=dap-worker", f"--target={WASM}")
        wasm = cache / self.target / WASM / "release" / "dap_worker.wasm"
        self.cargo("run", cache, "--package=bundle", "--", str(wasm), str(part))


PROJECTS = (
    Project(
        HERE,
        "made",
        "target",
        ("dap-daphne", "dap-client", "dap-collector", "dap-ours", "dap-cell"),
        (HERE,),
        apart=OTHERS,
    ),
    Project(LATER / "janus", "made09", "target09", ("dap-client09",), (LATER / "janus", HERE / "interop")),
    Packages(LATER / "divviup", "divviup", "", ("dap-divviup",), (LATER / "divviup",), ("*.js", "*.json")),
    Worker(HERE / "worker", "worker", "target-worker", ("dap-worker",), (HERE / "worker",), WORKER),
)


def _node() -> tuple[str, list[str]]:
    """Return the program of Node.js and the command of npm; exits with a sentence where there is none."""
    node, npm = runpy.run_path(str(NODE))["node"]()
    return node, npm


def _do(argv: list[str], folder: Path, words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if value}
    done = procs.run(argv, timeout=BUDGET, cwd=folder, env=environment)
    if done.code != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n{words} {done.ending(BUDGET)}")


def keep(project: Project, cache: Path, place: Path) -> None:
    """Make all programs of a project and keep them in ``place``. Exits when they cannot be made."""
    part = cache / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    project.build(cache, part)
    part.rename(place)
    versions = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in versions[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def made(program: str) -> list[str]:
    """Return how a program is started, which is made if it was not yet."""
    folder = cache_folder(os.environ)
    if folder is None:
        sys.exit("there is no folder to keep the subjects of DAP in: set HOME or XDG_CACHE_HOME")
    cache = folder / "dap"
    project = next(project for project in PROJECTS if program in project.programs)
    place = cache / project.place / project.digest()
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # others that wait find it made
            if not place.exists():
                keep(project, cache, place)
    return project.command(place, program)


def main(program: str, *words: str) -> None:
    """Become the program, or see that there is one."""
    if program == BUILD:
        made(PROJECTS[0].programs[0])
        return
    path, *arguments = made(program)
    os.execv(path, [program, *arguments, *words])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
