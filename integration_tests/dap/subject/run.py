"""``python run.py PROGRAM``: become one of the subjects, which Cargo makes here if that was not done before.

Programs are kept by what they are made of, in the user's cache folder; what several of them share is compiled once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PROGRAMS = ("dap-daphne", "dap-client", "dap-collector", "dap-ours")
WORKER = "dap-worker"
WASM = "wasm32-unknown-unknown"
BUDGET = 1500.0
"""Seconds for a build: it compiles some 270 crates."""
NPM_BUDGET = 300.0
MISSING = {
    "cargo": "install Rust 1.85 or later, by rustup or as Debian's packages rustc-web and cargo-web, with a C compiler",
    "npm": "install Node.js 18 or later with npm",
    "node": "install Node.js 18 or later",
}


def tool(name: str) -> str:
    """Return the path of a program that is needed here; exits with what to do where there is none."""
    if path := shutil.which(name):
        return path
    sys.exit(f"there is no {name} here, which the subjects of DAP need: {MISSING[name]}")


def call(argv: list[str], folder: Path, budget: float) -> None:
    """Run a part of a build. Exits with its own words when it fails."""
    env = {name: value for name, value in os.environ.items() if value}
    done = procs.run(argv, timeout=budget, cwd=folder, env=env)
    if done.code != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n{Path(argv[0]).name} {argv[1]} {done.ending(budget)}")


def build_programs(target: Path, place: Path) -> None:
    """Make all programs in a folder."""
    call([tool("cargo"), "build", "--release", "--locked", f"--target-dir={target}"], HERE, BUDGET)
    for program in PROGRAMS:
        shutil.copy2(target / "release" / program, place / program)


def build_worker(target: Path, place: Path) -> None:
    """Make the Worker's modules in a folder, with what runs them: WebAssembly, JavaScript for it, and workerd."""
    folder = HERE / "worker"
    node_modules = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    for path in (*folder.glob("*.mjs"), *folder.glob("package*.json")):
        shutil.copy2(path, place / path.name)
    call(node_modules, place, NPM_BUDGET)
    options = ["--release", "--locked", f"--target-dir={target}"]
    call([tool("cargo"), "build", *options, "--package=dap-worker", f"--target={WASM}"], folder, BUDGET)
    wasm = target / WASM / "release" / "dap_worker.wasm"
    call([tool("cargo"), "run", *options, "--package=bundle", "--", str(wasm), str(place)], folder, BUDGET)


@dataclass(frozen=True)
class Kind:
    """What is made at once.

    Attributes:
        folder: its sources.
        apart: a folder in it that has sources of another kind.
        build: makes it: what Cargo keeps, the place that it is made in.
        kept: versions that are kept.
    """

    folder: Path
    apart: str
    build: Callable[[Path, Path], None]
    kept: int

    def digest(self) -> str:
        """Return what it is made of, as one word."""
        kinds = ("*.rs", "*.toml", "*.lock", "*.mjs", "*.json")
        files = [path for kind in kinds for path in self.folder.rglob(kind)]
        whole = hashlib.sha256()
        for path in sorted(files):
            name = path.relative_to(self.folder)
            if "target" not in name.parts and self.apart not in name.parts:
                whole.update(f"{name}\0".encode())
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()[:20]


KINDS = {
    "": Kind(HERE, "worker", build_programs, kept=5),
    "worker": Kind(HERE / "worker", "node_modules", build_worker, kept=2),
}


def build(kind: Kind, cache: Path, place: Path) -> None:
    """Make one kind and keep it in ``place``. Exits with the words of what cannot be done."""
    print("dap: the subjects are compiled, which takes some minutes at first", flush=True)
    part = cache / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    kind.build(cache / "target", part)
    part.rename(place)
    versions = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in versions[: -kind.kept]:
        shutil.rmtree(old, ignore_errors=True)


def made(name: str) -> Path:
    """Return where a kind is, made if it was not yet."""
    kind = KINDS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness" / "dap" / name
    place = cache / "made" / kind.digest()
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # others that wait find it made
            if not place.exists():
                build(kind, cache, place)
    return place


def main(program: str) -> None:
    """Become the program."""
    if program == WORKER:
        node, modules = tool("node"), made("worker")
        os.execv(node, [program, str(modules / "serve.mjs")])  # noqa: S606 - it takes our place
    path = made("") / program
    os.execv(path, [program])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
