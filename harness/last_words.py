"""Why a program ended, from the last lines that it wrote: the error of its traceback, else a line that tells of one."""

from __future__ import annotations

import json
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
_FRAME = re.compile(r"^\s+(?:at (?!\S+\.rs:\d)|\.\.\. \d+ (?:more|common))")  # Java, JavaScript, .NET; not Rust
_NAMED = re.compile(r"\b[\w.$]*(?:Error|Exception|Throwable)\b")
_BEFORE_NAME = re.compile(
    r'^(?:Exception in thread "[^"]*" |Caused by: |Unhandled exception\. |Uncaught |\[?(?:ERROR|FATAL|SEVERE)\]?:? )+'
)
_PACKAGE = re.compile(r"^(?:[\w$]+\.)+(?=[A-Z]\w*(?:: |$))")
_RUBY = re.compile(r"^\S+\.rb:\d+:in .*?: (?P<said>.*) \((?P<kind>[A-Z][\w:]*)\)$")
_RUST = re.compile(r"^thread '.*' (?:\(\d+\) )?panicked at (?:'(?P<said>.*)', )?\S+:\d+:\d+:?$")
_GO = re.compile(r"^\s*(?:panic|fatal error): ")
_RETURN = re.compile(r"\r|\\x0d")  # as a byte and as ``artifacts.printable`` writes it
_GROUP = re.compile(r"^\s*\+ Exception Group Traceback \(most recent call last\):$")
_IN_GROUP = re.compile(r"^\s*[|+]")
_MEMBER = re.compile(r"^\s*(?:\+-)?\+-+ (?:\d+|\.\.\.) -+$")
_MARGIN = re.compile(r"^\s*\| ?")
_NESTED = re.compile(r"^\S*ExceptionGroup: .* \(\d+ sub-exceptions?\)$")
_CONSEQUENCE = re.compile(r"^(?:BEGIN failed--|npm (?:ERR!|error)|make(?:\[\d+\])?: \*\*\*|error Command failed with )")
_PAIR = re.compile(r'([\w.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_LEVELS, _MESSAGES, _ERRORS = ("level", "severity", "lvl"), ("msg", "message", "event"), ("err", "error", "exception")


def cause_of(lines: Sequence[str]) -> str:
    """Return the line of a log that says why its program ended, without time, colours and packages; "" for none."""
    plain = [_plain(line) for line in lines[-LOOKED_AT:]]
    causes = [cause for reader in _READERS if (cause := reader(plain))]
    text = max(causes)[1] if causes else _telling_line(plain)
    return " ".join(_PROGRAM.sub("", text).split())[:_SHOWN]


def last_line(lines: Sequence[str]) -> str:
    """Return the last line that has something in it, for one who has nothing better; "" when there is none."""
    plain = (_plain(line).strip() for line in reversed(lines))
    return next((line for line in plain if line), "")[:_SHOWN]


def _plain(line: str) -> str:
    """Return a line as a terminal shows it at last, without colours and time; of one with named fields, its message."""
    shown = [part for part in _RETURN.split(_COLOUR.sub("", line)) if part.strip()]
    text = _TIME.sub("", shown[-1]).rstrip() if shown else ""
    return _message_of(_fields_of(text)) or text


def _fields_of(line: str) -> dict[str, str]:
    """Return the fields of a line of a structured log, JSON or logfmt; {} of any other."""
    if line.startswith("{"):
        try:
            return {key: str(value) for key, value in json.loads(line).items() if value}
        except ValueError:
            return {}
    pairs = {key: quoted or bare for key, quoted, bare in _PAIR.findall(line)}
    return pairs if any(key in pairs for key in _LEVELS) else {}


def _message_of(fields: dict[str, str]) -> str:
    """Return what a line of a structured log says, with its level where that is one of errors; "" for nothing."""
    level, message, error = (
        next((fields[key] for key in keys if key in fields), "") for keys in (_LEVELS, _MESSAGES, _ERRORS)
    )
    if not message:
        return ""
    why = cause_of(error.splitlines()) or error
    head = level.lower() if _ERROR.search(level) else ""
    return ": ".join(filter(None, (head, message, why)))


def _telling_line(lines: Sequence[str]) -> str:
    tail = [line for line in lines if line.strip() and not _CONSEQUENCE.match(line)][-_NEAR_THE_END:]
    return next((line for line in reversed(tail) if _ERROR.search(_NO_ERROR.sub("", line))), "")


def _python(lines: Sequence[str]) -> tuple[int, str] | None:
    """Return where the last error of a traceback stands, and its text."""
    starts = [
        at
        for at, line in enumerate(lines)
        if line.strip().endswith("Traceback (most recent call last):") and not _IN_GROUP.match(line)
    ]
    if not starts:
        places = [at for at, line in enumerate(lines) if _PYTHON_ENDS.match(line)]
        return (places[-1], lines[places[-1]]) if places else None
    indent = len(lines[starts[-1]]) - len(lines[starts[-1]].lstrip())
    for at in range(starts[-1] + 1, len(lines)):
        line = lines[at]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            if len([after for after in lines[at:] if after.strip()]) > _NEAR_THE_END and _telling_line(lines):
                return None  # the program lived on, and told of something else at its end
            more = [line.strip() for line in lines[at + 1 : at + 3]]
            if counted := _COUNTED.match(line.strip()):  # pydantic: which field and what of it, in lines of their own
                return at, _PACKAGE.sub("", f"{counted[1]}: {' '.join(more)}")
            return at, _PACKAGE.sub("", " ".join([line.strip(), *(more if line.endswith(":") else ())]))
    return None


def _group(lines: Sequence[str]) -> tuple[int, str] | None:
    """Return where the last exception group of Python ends, and the errors in it, however deep."""
    start = next((at for at in range(len(lines) - 1, -1, -1) if _GROUP.match(lines[at])), None)
    if start is None:
        return None
    end = next((at for at in range(start + 1, len(lines)) if not _IN_GROUP.match(lines[at])), len(lines))
    heads = [at for at in range(start, end) if _MEMBER.match(lines[at])]
    errors = [_error_of(lines[at + 1 : after]) for at, after in zip(heads, [*heads[1:], end], strict=True)]
    return end - 1, "; ".join(error for error in dict.fromkeys(errors) if error)


def _error_of(member: Sequence[str]) -> str:
    """Return the error of one member of an exception group, "" of a group in it."""
    inside = [_MARGIN.sub("", line) for line in member if _MARGIN.match(line)]
    errors = [line for line in inside if line[:1].strip() and not line.startswith("Traceback (most recent")]
    return "" if not errors or _NESTED.match(errors[0]) else _PACKAGE.sub("", errors[0])


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
    places = [at for at, line in enumerate(lines) if _GO.match(line)]
    return (places[-1], lines[places[-1]].strip()) if places else None


def _ruby(lines: Sequence[str]) -> tuple[int, str] | None:
    panics = [
        (at, f"{match['kind']}: {match['said']}") for at, line in enumerate(lines) if (match := _RUBY.match(line))
    ]
    return panics[-1] if panics else None


def _rust(lines: Sequence[str]) -> tuple[int, str] | None:
    for at in range(len(lines) - 1, -1, -1):
        if match := _RUST.match(lines[at]):
            message = match["said"] or (lines[at + 1] if at + 1 < len(lines) else "")
            return at, f"panic: {message}"
    return None


_READERS: tuple[Callable[[Sequence[str]], tuple[int, str] | None], ...] = (
    _python,
    _group,
    _framed,
    _go,
    _ruby,
    _rust,
)
