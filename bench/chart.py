"""Draws docs/speed.svg and fills the generated parts of docs/speed.md: ``python -m bench.chart``.

Both come from the newest run in bench/history.jsonl that measured every figure. Exit code 1 when there is none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bench import comparing, cycle, history
from bench.figures import find_figures
from harness import artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.comparing import Row
    from bench.figures import Figure
    from bench.history import Entry

DOCS = history.ROOT / "docs"
HOW = "python -m bench.chart"
TITLE = "A cold cycle of three trivial services"
# What the chart calls the ways; one that does not stand here is not in it.
WAYS = {
    cycle.FLOOR: "Engine API by hand (floor)",
    "harness": "harness, published ports",
    "harness-container": "harness, container addresses",
    "compose": "compose up -d, down -t 0",
    "pytest-docker": "pytest-docker",
    "testcontainers": "testcontainers, health checks",
    "compose-wait": "compose up --wait, down",
}
WIDTH, LEFT, RIGHT = 760, 244, 122
TOP, BAR, STEP, BOTTOM = 62, 18, 28, 56
MARGIN, BASELINE = 20, 13
# Each colour is told apart by its lightness too, and every text stands on the card, whatever the page's colour is.
STYLE = """
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif; font-size: 13px;
  fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 12px; fill: #57606a }
.ours { font-weight: 600 }
.end { text-anchor: end }
.middle { text-anchor: middle }
.card { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #d8dee4; stroke-width: 1 }
.up-ours { fill: #0969da } .down-ours { fill: #80b7f5 }
.up-peer { fill: #6e7781 } .down-peer { fill: #b4bcc4 }
.floor { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 4 3 }
"""
DARK = """
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9aa4af }
.card { fill: #0d1117; stroke: #30363d }
.grid { stroke: #21262d }
.up-ours { fill: #2f81f7 } .down-ours { fill: #1b4b91 }
.up-peer { fill: #8b949e } .down-peer { fill: #484f58 }
.floor { stroke: #f0883e }
}
"""


def draw(entry: Entry) -> str:
    """Return the chart of a run's cold cycles as SVG: a bar for each way, up and down.

    Raises:
        ValueError: the run has no cold cycle with a floor.
    """
    rows = {row.way: row for row in entry.figures.get("cycle", ()) if row.value is not None}
    floor = rows.get(cycle.FLOOR)
    if floor is None or floor.value is None:
        raise ValueError("the run has no floor of the cold cycle")
    shown = [(name, row, row.value) for name, row in ((one, rows.get(one)) for one in WAYS) if row and row.value]
    height = TOP + STEP * len(shown) + BOTTOM
    scale = (WIDTH - LEFT - RIGHT) / max(value for _, _, value in shown)
    about = "Seconds that a cold cycle takes; shorter is better. " + "; ".join(
        f"{WAYS[name]}: {comparing.number(value)} s" for name, _, value in shown
    )
    root = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", width=str(WIDTH), role="img"
    )
    ET.SubElement(root, "title").text = TITLE
    ET.SubElement(root, "desc").text = about
    ET.SubElement(root, "style").text = STYLE + DARK
    _rect(root, (0.5, 0.5, WIDTH - 1, height - 1), "card", round_by=6)
    _text(root, MARGIN, 27, TITLE, "title")
    _text(
        root,
        MARGIN,
        46,
        "Seconds, medians; strong colour: until usable, faint: until gone. Shorter is better.",
        "small",
    )
    bottom = TOP + STEP * len(shown)
    for second in range(int((WIDTH - LEFT - RIGHT) / scale) + 1):
        _line(root, LEFT + second * scale, bottom, "grid")
        _text(root, LEFT + second * scale, bottom + 17, f"{second} s", "small middle")
    for place, (name, row, value) in enumerate(shown):
        _bar(root, TOP + STEP * place, (name, row, value), (rows.get(f"{name} up"), scale))
    _line(root, LEFT + floor.value * scale, bottom, "floor")
    _text(root, MARGIN, height - 14, _note(entry, rows.get(cycle.DEAF)), "small")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _bar(root: ET.Element, y: float, bar: tuple[str, Row, float], of: tuple[Row | None, float]) -> None:
    (name, row, value), (up, scale) = bar, of
    kind = "ours" if name.startswith("harness") else "peer"
    share = min(1.0, up.value / value) if up and up.value is not None else 1.0
    _text(root, LEFT - 10, y + BASELINE, WAYS[name], f"end {kind}")
    _rect(root, (LEFT, y, value * share * scale, BAR), f"up-{kind}")
    _rect(root, (LEFT + value * share * scale, y, value * (1 - share) * scale, BAR), f"down-{kind}")
    ratio = "" if row.ratio is None else f", {comparing.number(row.ratio)} x"
    _text(root, LEFT + value * scale + 8, y + BASELINE, f"{comparing.number(value)} s{ratio}", kind)


def _note(entry: Entry, deaf: Row | None) -> str:
    machine = entry.machine
    where = f"{entry.began[:10]}, {machine['cores']} cores, engine {machine['engine']}."
    if deaf is None or deaf.value is None:
        return where
    return f"{where} Services that ignore TERM: compose up --wait, down: {comparing.number(deaf.value)} s."


def _text(root: ET.Element, x: float, y: float, words: str, kind: str) -> None:
    ET.SubElement(root, "text", {"x": _place(x), "y": _place(y), "class": kind}).text = words


def _rect(root: ET.Element, box: tuple[float, float, float, float], kind: str, round_by: int = 0) -> None:
    sizes = dict(zip(("x", "y", "width", "height"), map(_place, box), strict=True))
    ET.SubElement(root, "rect", {**sizes, "class": kind, **({"rx": str(round_by)} if round_by else {})})


def _line(root: ET.Element, x: float, bottom: float, kind: str) -> None:
    ends = {"x1": _place(x), "x2": _place(x), "y1": _place(TOP - 6), "y2": _place(bottom)}
    ET.SubElement(root, "line", {**ends, "class": kind})


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def fill(text: str, entry: Entry, known: Mapping[str, Figure]) -> str:
    """Return a document with its generated parts as a run and the figures give them.

    A part stands between ``<!-- NAME: generated by ... -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: a part is missing.
    """
    for name, part in (("table", _table(entry)), ("limits", _limits(known))):
        begin, end = f"<!-- {name}: generated by `{HOW}` -->", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or end not in text.partition(begin)[2]:
            raise ValueError(f"one part {begin} ... {end} was needed")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{part}\n\n{end}{rest.partition(end)[2]}"
    return text


def _table(entry: Entry) -> str:
    machine = entry.machine
    changed = ", with changes" if entry.changed else ""
    at = f" at commit {entry.commit[:12]}{changed}" if entry.commit else ""
    loads = " to ".join(f"{one:g}" for one in machine["load"])
    engine = f"engine {machine['engine']}" if machine["engine"] else "no engine"
    return (
        f"Measured on {entry.began[:10]}{at}: {machine['cores']} cores, kernel {machine['kernel']}, {engine}, "
        f"Python {machine['python']}, load average {loads}.\n\n{comparing.markdown_table(entry.figures)}"
    )


def _limits(known: Mapping[str, Figure]) -> str:
    return "\n".join(f"- **{one.name}**, {one.title}. {one.limits}".rstrip() for one in known.values())


def main(argv: Sequence[str] | None = None, *, kept: Path = history.HISTORY, docs: Path = DOCS) -> int:
    """Draw and fill.

    Args:
        argv: the command's words; there should be none.
        kept: the history.
        docs: the folder of the document and the chart.
    """
    if argv:
        print(__doc__, file=sys.stderr)
        return 2
    entry = history.last_whole(kept)
    if entry is None:
        print(f"{kept.name} has no run of every figure; make one: python -m bench", file=sys.stderr)
        return 1
    document = docs / "speed.md"
    text = fill(document.read_text(encoding="utf-8"), entry, find_figures())
    artifacts.write_atomically(docs / "speed.svg", draw(entry))
    artifacts.write_atomically(document, text)
    print(f"docs/speed.svg and docs/speed.md show the run of {entry.began}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
