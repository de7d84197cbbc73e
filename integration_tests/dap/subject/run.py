"""``python run.py PROGRAM [WORD ...]``: become one of the subjects, which Cargo makes here if that was not done before.

``python run.py --build`` makes all of them, and becomes none.

Programs are kept by what they are made of, in the user's cache folder; what several of them share is compiled once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path

from harness import procs

HERE = Path(__file__).resolve().parent
PROGRAMS = ("dap-daphne", "dap-client", "dap-collector", "dap-ours", "dap-cell")
BUILD = "--build"
BUDGET = 1500.0
"""Seconds for a build: it compiles some 270 crates."""
KEPT = 5
"""Versions that are kept."""
MISSING = (
    "there is no cargo here, which makes the subjects of DAP: install Rust 1.85 or later, by rustup"
    " or as Debian's packages rustc-web and cargo-web, with a C compiler"
)


def digest() -> str:
    """Return what the programs are made of, as one word."""
    files = [path for kind in ("*.rs", "*.toml", "*.lock") for path in HERE.rglob(kind) if "target" not in path.parts]
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path.relative_to(HERE)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:20]


def build(cache: Path, place: Path) -> None:
    """Make all programs and keep them in ``place``. Exits with Cargo's own words when they cannot be made."""
    cargo = shutil.which("cargo")
    if not cargo:
        sys.exit(MISSING)
    print("dap: the subjects are compiled, which takes some minutes at first", flush=True)
    argv = [cargo, "build", "--release", "--locked", f"--target-dir={cache / 'target'}"]
    done = procs.run(argv, timeout=BUDGET, cwd=HERE, env={name: value for name, value in os.environ.items() if value})
    if done.code != 0:
        sys.exit(f"{done.stdout}{done.stderr}\ncargo build {done.ending(BUDGET)}")
    part = cache / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for program in PROGRAMS:
        shutil.copy2(cache / "target" / "release" / program, part / program)
    part.rename(place)
    versions = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in versions[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def made() -> Path:
    """Return the folder of all programs, made if they were not yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness" / "dap"
    place = cache / "made" / digest()
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # others that wait find it made
            if not place.exists():
                build(cache, place)
    return place


def main(program: str, *words: str) -> None:
    """Become the program, or see that there is one."""
    folder = made()
    if program != BUILD:
        os.execv(folder / program, [program, *words])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
