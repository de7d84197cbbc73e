"""What a keeper says of itself, in a log of its own. It is apart from what is heavy: clients load some of it too."""

from __future__ import annotations

import contextlib
import sys

from harness import clock


def say(text: str) -> None:
    """Write a line to the keeper's own log. A full disk must not keep it from removing things."""
    with contextlib.suppress(OSError):
        print(f"{clock.now():.3f} {text}", file=sys.stderr, flush=True)
