"""``python -m th_test TEST ROLE``: what a matrix starts. Exit code 127 where there is no such test or role."""

from __future__ import annotations

import signal
import sys

from e3x import events

from th_test import cases


def main(argv: list[str]) -> int:
    """Take a role in a test; return the exit code."""
    test, role = argv if len(argv) == 2 else ("", "")
    run = cases.ROLES.get((test, role))
    if run is None:
        print(f"cannot be {role!r} in {test!r}", file=sys.stderr)
        return 127
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as process 1 of a container nothing else would heed it
    try:
        run()
    except cases.Failed as error:
        print(error, file=sys.stderr)
        return 1
    events.send("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
