"""The line of a log that says why its program ended is found, whatever the program was written in."""

from __future__ import annotations

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
    "finished with 0 errors\nbye": "",
    "started\nlistening": "",
    "": "",
}


@pytest.mark.parametrize("log", FAULTS)
def test_the_cause_is_found(log: str) -> None:
    """The error of a traceback, or a line that tells of one, must be the cause; chatter must be none."""
    assert cause_of(log.splitlines()) == FAULTS[log]


def test_an_old_error_is_no_cause() -> None:
    """A line that tells of an error long before the end must not be taken for its cause."""
    assert cause_of(["error: old", *["tick"] * 20]) == ""


def test_the_last_line_has_something_in_it() -> None:
    """The last line must be one with text, without its time."""
    assert last_line(["a", "2026-01-02 03:04:05 b", "  ", ""]) == "b"
    assert last_line([]) == ""
