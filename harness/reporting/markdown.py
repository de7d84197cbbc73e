"""A run as Markdown: for the summary of a step on GitHub Actions, a comment, a ticket.

What tests and services wrote stands between backticks, one line each, and in lists: there nothing of it is markup.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness import github
from harness.reporting.shown import lapsed_line
from harness.results.times import times_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.reporting.shown import RunShown

MOST = 50  # entries of a list
LONGEST = 300  # characters of a line
_LONG_STAGE = 0.5  # seconds
_SERVICE = re.compile(r"Service '([^']+)' ")


def literal(text: str) -> str:
    """Return ``text`` as one line of Markdown that shows it as it is."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    line = f"{line[:LONGEST]} ..." if len(line) > LONGEST else line or " "
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in (line[0], line[-1]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def markdown(shown: RunShown) -> str:
    """Return a run as a section of a Markdown document."""
    facts = shown.facts
    lines = [f"## Tests on {literal(str(facts.get('engine', '?')))}", ""]
    lines += [f"{_capital(shown.counts)}. {_capital(shown.ending)}.", ""]
    lines += [f"{_capital(str(times))}.", ""] if (times := times_in(facts)) else []
    if reason := facts.get("reason"):
        lines += _section("Reason", [literal(line) for line in str(reason).splitlines() if line.strip()])
    lines += _section("Services that broke", _broken_services(shown))
    bad = [f"{test['status']}: {literal(test['test'])}\\\n  {literal(test['line'])}" for test in shown.bad]
    lines += _section("Broken and failed tests", bad)
    uncounted = [f"{literal(how)}: {literal(test)}\\\n  {literal(line)}" for how, test, line in shown.uncounted]
    lines += _section("Flaky tests, and tests in quarantine", uncounted)
    lapsed = [literal(lapsed_line(entry)) for entry in facts.get("lapsed") or ()]
    lines += _section("Quarantine that lapsed", lapsed)
    slow = [(test["seconds"], f"{literal(test['test'])}") for test in shown.slowest]
    lines += _section("Slowest tests", [f"{seconds:.2f} s {test}" for seconds, test in slow])
    stages = sorted(facts.get("spans") or (), key=lambda span: -span["seconds"])
    long = [span for span in stages if span["seconds"] >= _LONG_STAGE]
    named = [f"{span['seconds']:.2f} s {span['stage']} {literal(str(span['of']))}" for span in long[:10]]
    lines += _section("Slowest stages", named)
    lines += _section("Left behind", [literal(str(thing)) for thing in facts.get("left") or ()])
    lines += _section("Left by tests", [literal(line) for line in shown.residue])
    lines += _section("Notes", [literal(note) for note in shown.notes])
    lines += [f"Run {literal(shown.run)}, folder {literal(str(shown.folder))}", ""]
    return github.neutral("\n".join(lines))  # it may be printed where commands are heeded


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _section(title: str, entries: Sequence[str]) -> list[str]:
    more = [f"- and {len(entries) - MOST} more"] * (len(entries) > MOST)
    return [f"### {title}", "", *(f"- {entry}" for entry in entries[:MOST]), *more, ""] if entries else []


def _broken_services(shown: RunShown) -> list[str]:
    """Return each service that broke, once for each reason, with the test or the number of tests that it broke.

    One that died under a test is noted by the run; of one that did not settle, the tests say so that need it.
    """
    faults = [(fault["service"], fault["summary"], fault["test"]) for fault in shown.facts.get("faults") or ()]
    known = {service for service, _, _ in faults}
    for test in shown.bad:
        match = _SERVICE.match(test["line"]) if test["status"] == "broken" else None
        if match and match[1] not in known:
            faults.append((match[1], test["line"], test["test"]))
    tests: dict[tuple[str, str], list[str]] = {}
    for service, why, test_name in faults:
        tests.setdefault((service, why), []).append(test_name)
    under = {cause: literal(names[0]) if len(names) == 1 else f"{len(names)} tests" for cause, names in tests.items()}
    return [f"{literal(service)} under {under[service, why]}\\\n  {literal(why)}" for service, why in tests]
