"""The line of a log that says why its program ended is found, whatever the program was written in."""

from __future__ import annotations

import traceback

import pytest

from harness.last_words import cause_of, last_line

FAULTS = {
    "Traceback (most recent call last):\n  File 'a.py', line 1\n    x\nKeyError: 'A'\n": "KeyError: 'A'",
    "Traceback (most recent call last):\n  x\na.b.OwnError: no\nbye": "OwnError: no",
    "Traceback (most recent call last):\n x\nKeyError: 1\n\nDuring handling of the above exception, another exception "
    "occurred:\n\nTraceback (most recent call last):\n x\nOSError: no disk": "OSError: no disk",
    "  File 'a.py', line 1\n    def x(:\n         ^\nSyntaxError: invalid syntax": "SyntaxError: invalid syntax",
    "Traceback (most recent call last):\n x\np.ValidationError: 1 validation error for S\nurl\n  Field required": (
        "ValidationError: url Field required"
    ),
    "/usr/bin/python3: No module named flsk": "No module named flsk",
    'Exception in thread "main" a.b.StateException: x\n\tat a.B(B.java:1)': "StateException: x",
    "E: x\n\tat a\nCaused by: java.io.IOException: root\n\tat b\n\t... 3 more\nShutting down": "IOException: root",
    "throw err;\n  ^\n\nError: Cannot find module '/a'\nRequire stack:\n- /b\n    at c\n\nNode.js v18": (
        "Error: Cannot find module '/a'"
    ),
    "Unhandled exception. System.FormatException: bad\n   at P.Main()": "FormatException: bad",
    "panic: no config\n\ngoroutine 1 [running]:\nmain.main()": "panic: no config",
    "thread 'main' panicked at src/main.rs:1:2:\nno config\nnote: run with": "panic: no config",
    "thread 'main' panicked at 'no config', src/main.rs:1:2": "panic: no config",
    'app.rb:3:in `fetch\': key not found: "X" (KeyError)\n\tfrom app.rb:3': 'KeyError: key not found: "X"',
    "2026-01-02T03:04:05.678Z \x1b[31mERROR\x1b[0m no licence\nbye": "ERROR no licence",
    "2026-01-02 03:04:05,678 [7] cannot open /etc/a": "cannot open /etc/a",
    r"\x1b[31mfatal: no tty\x1b[0m": "fatal: no tty",
    "progress 1%\rprogress 2%\rFATAL: disk is full": "FATAL: disk is full",
    r"progress 1%\x0dprogress 2%\x0dFATAL: disk is full\x0d": "FATAL: disk is full",
    '{"level":"info","msg":"up"}\n{"level":"error","msg":"no route","err":"timeout"}\n{"level":"info","msg":"down"}': (
        "error: no route: timeout"
    ),
    '{"severity":"ERROR","message":"x","exception":"Traceback (most recent call last):\\n x\\nKeyError: 1"}': (
        "error: x: KeyError: 1"
    ),
    'time=2026-01-01T00:00:00Z level=fatal msg="cannot open \\"a\\"" path=/data': r"fatal: cannot open \"a\"",
    "[1, 2] failed": "[1, 2] failed",
    '{"level":"error", failed': '{"level":"error", failed',
    "panic: one [recovered]\n\tpanic: no DSN\n\ngoroutine 1 [running]:\nmain.main()": "panic: no DSN",
    "thread 'main' (7) panicked at src/db.rs:9:1:\nno url\nstack backtrace:\n   0: begin\n      at /r/p.rs:5:3": (
        "panic: no url"
    ),
    "Can't locate DBI.pm in @INC at x.pl line 3.\nBEGIN failed--compilation aborted at x.pl line 3.": (
        "Can't locate DBI.pm in @INC at x.pl line 3."
    ),
    "\n".join(
        ["Traceback (most recent call last):", " x", "KeyError: 'optional'", *["tick"] * 20, "ERROR licence expired"]
    ): "ERROR licence expired",
    "\n".join(["Traceback (most recent call last):", " x", "KeyError: 'A'", *["tick"] * 20]): "KeyError: 'A'",
    "finished with 0 errors\nbye": "",
    "started\nlistening": "",
    "": "",
}


@pytest.mark.parametrize("log", FAULTS)
def test_the_cause_is_found(log: str) -> None:
    """The error of a traceback, or a line that tells of one, must be the cause; chatter must be none."""
    assert cause_of(log.splitlines()) == FAULTS[log]


def test_the_errors_of_a_group_are_the_cause() -> None:
    """The errors in a group must be the cause, at any depth, and not a line of its frames."""
    inner = ExceptionGroup("inner", [KeyError("DATABASE_URL")])
    group = raised(ExceptionGroup("two", [raised(ValueError("bad port")), inner]))
    lines = "".join(traceback.format_exception(group)).splitlines()
    assert cause_of([*lines, "bye"]) == "ValueError: bad port; KeyError: 'DATABASE_URL'"


def raised(error: Exception) -> Exception:
    """Return an error with a traceback."""
    try:
        raise error  # noqa: TRY301 - a traceback is what it gets here
    except Exception as caught:  # noqa: BLE001 - whichever it is
        return caught


def test_an_old_error_is_no_cause() -> None:
    """A line that tells of an error long before the end must not be taken for its cause."""
    assert cause_of(["error: old", *["tick"] * 20]) == ""


def test_the_last_line_has_something_in_it() -> None:
    """The last line must be one with text, without its time."""
    assert last_line(["a", "2026-01-02 03:04:05 b", "  ", ""]) == "b"
    assert last_line([]) == ""
