"""A report as one page that opens without a server: everything that it shows is in it."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.reporting.interop.excerpts import Excerpt
    from harness.reporting.interop.report import Report

# What ends a script, or a line of one in old engines, is written as an escape of JSON.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page(report: Report, excerpts: Mapping[str, Excerpt], against: Report | None = None) -> str:
    """Return the page of a report.

    Args:
        report: what it shows.
        excerpts: cell -> events that are shown of it.
        against: the report of another run, with which it is compared as soon as it opens.
    """
    parts = {
        "TITLE": html.escape(f"{report.matrix}: interoperability"),
        "STYLE": _asset("page.css"),
        "REPORT": _escaped(report.as_json()),
        "AGAINST": _escaped(against.as_json()) if against else "null",
        "EVENTS": "\n".join(_lines(excerpts)),
        "SCRIPT": _asset("page.js"),
    }
    text = []
    for i, part in enumerate(_asset("page.html").split("@")):
        text.append(parts[part] if i % 2 else part)
    return "".join(text).encode("utf-8", "replace").decode()


def _lines(excerpts: Mapping[str, Excerpt]) -> Iterable[str]:
    """Yield for each cell its id, a tab, and its events: the page parses only those that somebody opens."""
    for cell, excerpt in excerpts.items():
        if excerpt.rows:
            yield _escaped(f"{json.dumps(cell)}\t{excerpt.as_json()}")


def _escaped(text: str) -> str:
    for char, escape in _ESCAPED.items():  # many times as fast as translate()
        text = text.replace(char, escape)
    return text


def _asset(name: str) -> str:
    return resources.files("harness.reporting.interop").joinpath("page", name).read_text(encoding="utf-8")
