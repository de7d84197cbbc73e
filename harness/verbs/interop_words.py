"""The words of the older tool for an interoperability matrix, as those of the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
harness interop test                          the implementation that is developed here against all, as worker
harness interop tests update                  the tests of the repository that tests-from of interop.toml names
harness interop tests build [IMPLEMENTATION]  build images, or run setups, of all implementations or one
harness interop tournament                    all against all, and a ranking
harness interop inspect latest|RUN|FILE       a run, a report.json or a .dump shown; --cell ID: one cell
harness interop judge latest|RUN|FILE         what a run or a .dump has stored, judged again
harness interop plan, run, merge              as interop.plan, interop.run, interop.judge, interop.merge
harness interop help                          these words

Each is a task, too (interop.test, interop.tests-build, ...): `harness --help interop.run` shows its flags."""
OF_A_RUN = ("interop.inspect", "interop.judge")
"""Tasks whose run may be given as a word without ``--run``."""
SWITCHES = ("--json", "-j", "--help", "-h")
"""Their flags that take no value."""


def translated(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with a task in place of ``interop WORD``; others are as they were."""
    match list(words):
        case ["interop"] | ["interop", "help" | "--help" | "-h", *_]:
            return ["interop.help"]
        case ["interop", "tests", "build", name, *rest] if not name.startswith("-"):
            return ["interop.tests-build", "--name", name, *rest]
        case ["interop", "tests", word, *rest]:
            return [f"interop.tests-{word}", *rest]
        case ["interop", word, *rest]:
            return translated([f"interop.{word}", *rest])
        case [task, *rest] if task in OF_A_RUN:
            return [task, *_with_run(rest)]
    return list(words)


def _with_run(words: Sequence[str]) -> list[str]:
    """Return the words after a task with ``--run`` before the first that is no flag and no flag's value."""
    is_value = False
    for place, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            return [*words[:place], "--run", *words[place:]]
        is_value = not is_value and word not in SWITCHES and "=" not in word
    return list(words)
