"""The table of options: names, where values come from, what is valid, and who takes which. It is data only."""

from __future__ import annotations

import re
from typing import NamedTuple

VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""A name that a variable of the environment can have (POSIX, 8.1)."""


class Option(NamedTuple):
    """One option; ``HARNESS_<NAME>`` is its variable.

    Attributes:
        key: its key in ``[tool.harness]``, "" for none.
        kind: the type of its value there.
        default: the text that stands for it where no source has one.
        valid: the values that it may have, () where that takes more than a list.
        named: what the report of a value that is not valid calls it.
        help: what the help of a task says.
        metavar: its value in the help of pytest, "" for a switch.
        pytest_help: what the help of pytest says where that is not ``help``.
    """

    key: str = ""
    kind: type = str
    default: str = ""
    valid: tuple[str, ...] = ()
    named: str = ""
    help: str = ""
    metavar: str = ""
    pytest_help: str = ""


OPTIONS = {
    "system": Option(
        key="default-system",
        help="a system of [tool.harness.systems] (default: default-system)",
        metavar="S",
    ),
    "engine": Option(
        key="engine",
        default="auto",
        valid=("auto", "compose", "embedded", "attach"),
        named="Engine",
        help="auto (default), compose, embedded or attach",
        metavar="E",
    ),
    "keep": Option(
        key="keep",
        default="never",
        valid=("never", "on-failure", "always"),
        named="Value of --keep",
        help="leave the environment up: never (default), on-failure, always",
        metavar="WHEN",
    ),
    "logs": Option(key="logs", default="logs"),
    "addresses": Option(
        key="addresses",
        default="published",
        valid=("published", "localhost", "container"),
        named="Kind of addresses",
        help="published (default): one for each service; localhost: ports on 127.0.0.1, as the file says; container",
        metavar="KIND",
    ),
    "networks": Option(key="networks", default="10.213.0.0/16", named="Range of networks"),
    "pull": Option(
        key="pull",
        default="missing",
        valid=("missing", "never"),
        named="Value of --pull",
        help="whether missing images are pulled: missing (default), never",
    ),
    "build": Option(key="build", default="changed", valid=("changed", "always", "never"), named="When to build:"),
    "locked": Option(
        key="locked",
        kind=bool,
        default="no",
        named="Whether images are held to images.lock:",
        help="refuse images that differ from images.lock, before anything is created",
    ),
    "wait_timeout": Option(
        key="wait-timeout",
        named="--wait-timeout",
        help="how long a stack may take to settle, such as 90s (default: what its file says)",
    ),
    "inside_timeout": Option(
        key="inside-timeout",
        named="--inside-timeout",
        help="how long what runs with --inside may take, such as 10m; then it is ended (default: as long as it takes)",
    ),
    "ttl": Option(
        key="ttl", default="12h", named="--ttl", help="how long it may stay unused, such as 30m (default 12h)"
    ),
    "notices_state": Option(key="notices-state"),
    "test_timeout": Option(
        key="test-timeout",
        default="0",
        named="--test-timeout",
        help="how long a test may take, such as 90s, and its teardown again; then it fails (default: 0, no limit)",
        metavar="TIME",
    ),
    "reruns": Option(key="reruns", kind=int, default="0", named="Number of reruns"),
    "quarantine": Option(key="quarantine", default="quarantine.toml"),
    "flakes": Option(key="flakes"),
    "keep_runs": Option(key="keep-runs", kind=int, default="20", named="Number of runs to keep"),
    "steady": Option(key="steady", default="1s", named="Time for which services must run,"),
    "strict_variables": Option(key="strict-variables", kind=bool, default="no", named="Whether variables must be set:"),
    "residue": Option(
        key="residue.mode",
        default="report",
        valid=("off", "report", "fail"),
        named="Value of --residue",
        help="what is done about what tests leave: report (default), fail, off",
        metavar="WHAT",
    ),
    "restart_changed": Option(
        key="restart-changed",
        kind=bool,
        default="no",
        named="Whether changed services are restarted:",
        help="rebuild and restart services of what is up that changed since they were started, and what must see it",
    ),
    "stack": Option(
        help="a stack's name, or a Compose file; again for files laid over it (default: the system's default stack)",
        metavar="S",
        pytest_help="the stack of the `stack` fixture: a name, or a Compose file",
    ),
    "matrix": Option(
        help="a matrix of [tool.harness.matrices], or its file or folder (default: the only one, else this folder's)",
        metavar="M",
    ),
    "profile": Option(help="profiles of the Compose file to activate, with commas between them", metavar="P"),
    "local_build": Option(
        named="Local build",
        help="folder of a subject that was built by hand; it runs as a local process",
        metavar="PATH",
    ),
    "local": Option(
        help="NAME=COMMAND: run this service as a local process with that command line; may be repeated",
        metavar="NAME=COMMAND",
    ),
    "wait_to_attach_debugger": Option(
        default="no",
        named="Value of --wait-to-attach-debugger",
        help="hold the subject at its first instruction until a debugger has attached",
    ),
}
"""Name, as a Python name -> the option."""

REPEATED = frozenset({"stack", "local"})
"""Those that may come again in a command line; ``local`` in pytest's, too."""

_WHICH = ("stack", "engine", "system", "profile")
_STARTING = (*_WHICH, "local_build", "local", "addresses", "pull", "wait_timeout")
TAKERS = {
    "pytest": (
        "engine",
        "system",
        "stack",
        "profile",
        "keep",
        "addresses",
        "local_build",
        "local",
        "residue",
        "restart_changed",
        "locked",
        "wait_to_attach_debugger",
        "test_timeout",
    ),
    "up": (*_STARTING, "ttl"),
    "test": (*_STARTING, "keep", "inside_timeout", "test_timeout"),
    "run": (*_STARTING, "keep", "inside_timeout"),
    "watch": _STARTING,
    "config": (*_WHICH, "local_build", "addresses"),
    **dict.fromkeys(("build", "save"), _WHICH),
    **dict.fromkeys(("down", "ps", "logs", "endpoints", "doctor", "exec", "restart"), ("engine",)),
    "notices": ("system", "engine"),
    **dict.fromkeys(("seed", "gc", "new", "load"), ("engine",)),
    **dict.fromkeys(("interop_lock", "interop_plan", "interop_run"), ("matrix", "engine")),
    **dict.fromkeys(("interop_test", "interop_tournament", "interop_tests_build"), ("matrix", "engine")),
    **dict.fromkeys(("interop_inspect", "interop_judge", "interop_merge", "interop_tests_update"), ("matrix",)),
}
"""Task, or ``pytest`` -> the options that it takes, in the order of its help."""


def variable(name: str) -> str:
    """Return the variable of the environment that gives an option."""
    return f"HARNESS_{name.upper()}"
