"""Why a program ended, from the last lines that it wrote: the error of its traceback, else a line that tells of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOKED_AT = 200
"""Lines from the end of a log that are worth looking at: a traceback may be long."""

_SHOWN = 200
_NEAR_THE_END = 15  # lines among which one that tells of an error is its reason
# Colours, as bytes and as ``artifacts.printable`` writes them.
_COLOUR = re.compile(r"(?:\x1b|\\x1b)\[[0-9;]*[A-Za-z]")
_TIME = re.compile(
    r"^\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?:?\s*(?:\[\d+\]:?\s*)?"
)
_PROGRAM = re.compile(r"^\S*/(?:python[\d.]*|node|java|ruby|perl): ")
_ERROR = re.compile(
    r"error|fatal|panic|exception|critical|cannot|can't|could ?n[o']t|unable to|fail(?:ed|ure)|denied|refused|missing"
    r"|not (?:found|set|permitted|allowed|valid|defined|supported|recognized|exist)|no such|no module|not exist"
    r"|invalid|illegal|unknown|unrecogni[sz]ed|unexpected|required|must (?:be|not)|in use|timed out|usage:",
    re.IGNORECASE,
)
_NO_ERROR = re.compile(r"\b(?:no|0|without) (?:errors?|failures?|exceptions?)\b", re.IGNORECASE)
_PYTHON_ENDS = re.compile(r"^(?:SyntaxError|IndentationError|TabError): ")
_COUNTED = re.compile(r"^([\w.]*ValidationError): \d+ validation errors? for ")
_FRAME = re.compile(r"^\s+(?:at |\.\.\. \d+ (?:more|common))")  # Java, JavaScript, .NET
_NAMED = re.compile(r"\b[\w.$]*(?:Error|Exception|Throwable)\b")
_BEFORE_NAME = re.compile(
    r'^(?:Exception in thread "[^"]*" |Caused by: |Unhandled exception\. |Uncaught |\[?(?:ERROR|FATAL|SEVERE)\]?:? )+'
)
_PACKAGE = re.compile(r"^(?:[\w$]+\.)+(?=[A-Z]\w*(?:: |$))")
_RUBY = re.compile(r"^\S+\.rb:\d+:in .*?: (?P<said>.*) \((?P<kind>[A-Z][\w:]*)\)$")
_RUST = re.compile(r"^thread '.*' (?:\(\d+\) )?panicked at (?:'(?P<said>.*)', )?\S+:\d+:\d+:?$")
_GO = re.compile(r"^(?:panic|fatal error): ")


def cause_of(lines: Sequence[str]) -> str:
    """Return the line of a log that says why its program ended, without time, colours and packages; "" for none."""
    plain = [_TIME.sub("", _COLOUR.sub("", line)).rstrip() for line in lines[-LOOKED_AT:]]
    causes = [cause for reader in _READERS if (cause := reader(plain))]
    text = max(causes)[1] if causes else _telling_line(plain)
    return " ".join(_PROGRAM.sub("", text).split())[:_SHOWN]


def last_line(lines: Sequence[str]) -> str:
    """Return the last line that has something in it, for one who has nothing better; "" when there is none."""
    plain = (_TIME.sub("", _COLOUR.sub("", line)).strip() for line in reversed(lines))
    return next((line for line in plain if line), "")[:_SHOWN]


def _telling_line(lines: Sequence[str]) -> str:
    tail = [line for line in lines if line.strip()][-_NEAR_THE_END:]
    return next((line for line in reversed(tail) if _ERROR.search(_NO_ERROR.sub("", line))), "")


def _python(lines: Sequence[str]) -> tuple[int, str] | None:
    """Return where the last error of a traceback stands, and its text."""
    starts = [at for at, line in enumerate(lines) if line.strip().endswith("Traceback (most recent call last):")]
    if not starts:
        found = [at for at, line in enumerate(lines) if _PYTHON_ENDS.match(line)]
        return (found[-1], lines[found[-1]]) if found else None
    indent = len(lines[starts[-1]]) - len(lines[starts[-1]].lstrip())
    for at in range(starts[-1] + 1, len(lines)):
        line = lines[at]
        if line.strip() and len(line) - len(line.lstrip()) <= indent and line.strip() != "|":
            more = [one.strip() for one in lines[at + 1 : at + 3]]
            if counted := _COUNTED.match(line.strip()):  # pydantic: which field and what of it, in lines of their own
                return at, _PACKAGE.sub("", f"{counted[1]}: {' '.join(more)}")
            return at, _PACKAGE.sub("", " ".join([line.strip(), *(more if line.endswith(":") else ())]))
    return None


def _framed(lines: Sequence[str]) -> tuple[int, str] | None:
    """Return the error above the last frames of Java (that is the root of the causes), JavaScript or .NET."""
    first = next((at for at in range(len(lines) - 1, 0, -1) if _FRAME.match(lines[at])), 0)
    while first > 1 and _FRAME.match(lines[first - 1]):
        first -= 1
    if not first:
        return None
    above = range(first - 1, max(-1, first - 10), -1)
    at = next((at for at in above if _NAMED.search(lines[at])), first - 1)
    return at, _PACKAGE.sub("", _BEFORE_NAME.sub("", lines[at].strip()))


def _go(lines: Sequence[str]) -> tuple[int, str] | None:
    found = [at for at, line in enumerate(lines) if _GO.match(line)]
    return (found[-1], lines[found[-1]]) if found else None


def _ruby(lines: Sequence[str]) -> tuple[int, str] | None:
    found = [(at, f"{match['kind']}: {match['said']}") for at, line in enumerate(lines) if (match := _RUBY.match(line))]
    return found[-1] if found else None


def _rust(lines: Sequence[str]) -> tuple[int, str] | None:
    for at in range(len(lines) - 1, -1, -1):
        if match := _RUST.match(lines[at]):
            said = match["said"] or (lines[at + 1] if at + 1 < len(lines) else "")
            return at, f"panic: {said}"
    return None


_READERS: tuple[Callable[[Sequence[str]], tuple[int, str] | None], ...] = (_python, _framed, _go, _ruby, _rust)
