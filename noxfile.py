"""The project's Nox sessions: those of the toolkit. `nox --list` shows them."""

import sys
from pathlib import Path

# `python -m nox` puts this folder on the path, the `nox` script does not.
sys.path.insert(0, str(Path(__file__).parent))

from harness.nox_sessions import (
    bench,
    campaign,
    docs,
    images,
    integration,
    interop,
    lint,
    long,
    minimums,
    mutants,
    nightly,
    plugins,
    podman,
    recipes,
    remote,
    subjects,
    tests,
    types,
)

__all__ = [
    "bench",
    "campaign",
    "docs",
    "images",
    "integration",
    "interop",
    "lint",
    "long",
    "minimums",
    "mutants",
    "nightly",
    "plugins",
    "podman",
    "recipes",
    "remote",
    "subjects",
    "tests",
    "types",
]
