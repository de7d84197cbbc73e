"""Measures figures, shows them, and keeps them: ``python -m bench [--figures a,b] [--rounds N] [--quick]``.

Everything goes to logs/bench/<time>.json, and what a run comes to also to bench/history.jsonl, unless it was quick.
Exit code 1 when a figure, or a way of one, could not be measured. A goal that is missed is told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bench import comparing, history
from bench.figures import QUICK, Figure, Measured, find_figures, run, unmet
from harness import artifacts, clock
from harness.interrupts import interruptible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def main(
    argv: Sequence[str] | None = None,
    *,
    known: Mapping[str, Figure] | None = None,
    kept: Path = history.HISTORY,
    logs: Path = history.ROOT / "logs" / "bench",
) -> int:
    """Measure and report.

    Args:
        argv: the command's words.
        known: the figures that there are; None: those of this package.
        kept: the file that the run is added to.
        logs: the folder of the run's own file.
    """
    known = find_figures() if known is None else known
    given = _parse(argv, known)
    figures = [known[name] for name in given.figures or known]
    left_out = {figure.name: reason for figure in figures if (reason := unmet(figure.needs, os.environ))}
    for name, reason in left_out.items():
        _say(f"{name}: left out: {reason}")
    began, (commit, changed), machine = datetime.now(UTC), history.commit(), history.machine(os.environ)
    with interruptible(_say):
        results = [_measure(one, _rounds(one, given)) for one in figures if one.name not in left_out]
    machine["load"].append(history.load())
    entry = history.Entry(
        began=began.isoformat(timespec="seconds"),
        commit=commit,
        changed=changed,
        whole=not (given.figures or given.rounds or given.quick or left_out),
        machine=machine,
        figures={result.figure.name: comparing.compare(result.series) for result in results},
    )
    if results:
        print(f"\n{comparing.text_table(entry.figures)}\n")
        if not (given.quick or given.no_history):
            history.append(entry, kept)
    logs.mkdir(parents=True, exist_ok=True)
    artifacts.write_atomically(logs / f"{began:%Y%m%d-%H%M%S}.json", _document(entry, results, left_out))
    return _verdict(entry, results, [name for name in given.figures or () if name in left_out])


def _parse(argv: Sequence[str] | None, known: Mapping[str, Figure]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", default="", help=f"some of {','.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, help="measured ones of each figure; one more comes first")
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of the rounds; not kept in the history")
    parser.add_argument("--no-history", action="store_true", help="do not keep it in the history")
    given = parser.parse_args(argv)
    given.figures = [name for name in given.figures.split(",") if name]
    if unknown := [name for name in given.figures if name not in known]:
        parser.error(f"unknown figures: {', '.join(unknown)}; there are: {', '.join(known)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least 1 is needed")
    return given


def _rounds(figure: Figure, given: argparse.Namespace) -> int:
    if given.rounds:
        return int(given.rounds)
    return max(1, figure.rounds // QUICK) if given.quick else figure.rounds


def _measure(figure: Figure, rounds: int) -> Measured:
    _say(f"{figure.name}: {figure.title}; {rounds} rounds")
    began = clock.now()
    result = run(figure, rounds, lambda line: _say(f"{figure.name}: {line}"))
    _say(f"{figure.name}: {f'failed: {result.failed}' if result.failed else 'done'} in {clock.now() - began:.0f} s")
    return result


def _document(entry: history.Entry, results: Sequence[Measured], left_out: Mapping[str, str]) -> str:
    """Return all of a run: every value, and every reason in full."""
    figures = {
        result.figure.name: {
            "title": result.figure.title,
            "rounds": result.rounds,
            "failed": result.failed,
            "series": [asdict(one) for one in result.series],
            "rows": [row.as_dict() for row in entry.figures[result.figure.name]],
        }
        for result in results
    }
    return json.dumps({**vars(entry), "figures": figures, "left_out": dict(left_out)}, indent=2) + "\n"


def _verdict(entry: history.Entry, results: Sequence[Measured], refused: Sequence[str]) -> int:
    missed = [f"{name} {row.way}" for name, rows in entry.figures.items() for row in rows if row.met is False]
    _say(f"goals missed: {', '.join(missed)}" if missed else "no goal was missed")
    incomplete = [*refused, *(result.figure.name for result in results if not result.complete)]
    if incomplete:
        _say(f"could not be measured, or not all of it: {', '.join(incomplete)}")
    return 1 if incomplete else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
