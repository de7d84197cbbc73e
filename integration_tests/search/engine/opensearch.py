"""``python opensearch.py HOST:PORT DATA FOLDER``: become OpenSearch itself, which is given the documents of ``DATA``.

It takes Java and Maven, see ``docs/search.md``. What it holds is in ``FOLDER``, and is there when it is started again.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from harness.clock import Deadline, poll
from harness.errors import HarnessError
from harness.helpers.search_plain import PlainSearch, SearchRefusal, plant

PROGRAM = Path(__file__).parents[3] / "images" / "opensearch" / "opensearch-local"
PATIENCE = 600.0
"""Seconds in which it must answer; at first it gets its jars."""


def fill(engine: PlainSearch, data: Path, server: int) -> bool:
    """Give an engine the indices of ``data`` as soon as it answers; return whether its process lived that long.

    Raises:
        HarnessError: it refused something, or did not answer.
    """
    missing = "it was not asked"
    for _ in poll(Deadline.after(PATIENCE)):
        if os.getppid() != server:
            return False
        try:
            missing = engine.unmet("red", {})
        except SearchRefusal as refusal:
            missing = refusal.summary
        if not missing:
            break
    else:
        raise HarnessError(f"it does not answer: {missing}")
    for definition in sorted(data.glob("*.json")):
        plant(engine, definition.stem, file=definition.with_suffix(".ndjson"), mapping=definition)
    return True


def fill_once(engine: PlainSearch, data: Path, filled: Path, server: int) -> None:
    """Fill an engine that was not filled before. One that cannot be is ended, with the reason in its log."""
    try:
        if fill(engine, data, server):
            filled.touch()
    except (HarnessError, OSError) as error:
        print(f"{data}: {error}", file=sys.stderr, flush=True)
        if os.getppid() == server:
            os.kill(server, signal.SIGTERM)


def main(address: str, data: str, folder: str, program: str = str(PROGRAM)) -> None:
    """Become the engine; a child of it puts the documents in, which the probe of the stack waits for."""
    host, _, port = address.rpartition(":")
    filled, server = Path(folder) / "filled", os.getpid()
    if not filled.exists() and not os.fork():
        fill_once(PlainSearch(host, int(port), timeout=60), Path(data), filled, server)
        return
    os.execv(program, [program, host, port, folder])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
