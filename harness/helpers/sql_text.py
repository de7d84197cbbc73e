"""The text of a file for psql, taken apart into its statements, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What decides where a statement ends: a quoted string, name or body, a comment, a semicolon, a command of psql.
# ("Lexical Structure" in PostgreSQL's documentation.)
_TOKEN = re.compile(
    r"""(?P<skip> --[^\n]* | (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" )
      | (?P<comment> /\* )
      | (?P<dollar> (?<![\w$]) \$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$ )
      | (?P<end> ; )
      | (?P<meta> ^[^\S\n]*\\[^\n]* )""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_COMMENT = re.compile(r"/\*|\*/")
_COPY = re.compile(r"\s*COPY\b.*\bFROM\s+STDIN\b", re.IGNORECASE | re.DOTALL)
_BLANK = re.compile(r"(?:\s+|--[^\n]*)*")
_HARMLESS = re.compile(r"\s*\\(restrict|unrestrict|echo|set|pset|timing)\b")  # of no use here; pg_dump writes the first
_END_OF_DATA = re.compile(r"^\\\.[^\S\n]*$", re.MULTILINE)
# A body that is no string has semicolons of its own: CREATE FUNCTION ... BEGIN ATOMIC ...; END;
_ATOMIC = re.compile(r"\bBEGIN\s+ATOMIC\b", re.IGNORECASE)
_OPENS, _CLOSES = re.compile(r"\b(?:BEGIN\s+ATOMIC|CASE)\b", re.IGNORECASE), re.compile(r"\bEND\b", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        text: it, without its semicolon and what stands before it.
        line: the number of the line in which it begins.
        data: what a ``COPY ... FROM stdin`` is given, None for any other.
    """

    text: str
    line: int
    data: str | None = None


def statements(text: str) -> Iterator[Statement]:
    """Give the statements of a file as ``psql`` would, with the data of ``COPY ... FROM stdin``.

    Raises:
        HarnessError: it has a command of psql's own (they begin with a backslash), which only psql understands.
    """
    start = at = 0
    while token := _TOKEN.search(text, at):
        at = token.end()
        if token["comment"]:
            at = _after_comment(text, at)
        elif token["dollar"]:
            end = text.find(token["dollar"], at)
            at = len(text) if end < 0 else end + len(token["dollar"])
        elif token["meta"] and not _stripped(text[start : token.start()]):
            if not _HARMLESS.match(token["meta"]):
                command = token["meta"].split()[0]
                raise HarnessError(f"line {_line(text, token.start())}: {command} is a command of psql, not SQL")
            start = at
        elif token["end"] and not _is_in_body(text[start : token.start()]):
            body = _stripped(text[start : token.start()])
            data = None
            if _COPY.match(body):
                begin = text.find("\n", at) + 1 or len(text)
                end_of_data = _END_OF_DATA.search(text, begin)
                data = text[begin : end_of_data.start() if end_of_data else len(text)]
                at = end_of_data.end() if end_of_data else len(text)
            if body:
                yield Statement(body, _line(text, text.index(body, start)), data)
            start = at
    if last := _stripped(text[start:]):
        yield Statement(last, _line(text, text.index(last, start)))


def _stripped(body: str) -> str:
    """Return a statement without the white space and comments before it."""
    at = 0
    while blank := _BLANK.match(body, at):
        at = blank.end()
        if not body.startswith("/*", at):
            break
        at = _after_comment(body, at + 2)
    return body[at:].rstrip()


def _is_in_body(body: str) -> bool:
    if not _ATOMIC.search(body):
        return False
    return len(_CLOSES.findall(body)) < len(_OPENS.findall(body))


def _after_comment(text: str, at: int) -> int:
    """Return where a comment ends that began before ``at``; comments nest."""
    depth = 1
    while depth and (mark := _COMMENT.search(text, at)):
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return at if depth == 0 else len(text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
