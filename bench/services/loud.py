"""A service that writes lines to standard output as fast as it can. ``loud.py BYTES FILE``.

FILE gets the monotonic times of the beginning and of the end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

left = int(sys.argv[1])
chunk = (b"x" * 99 + b"\n") * 655
began = time.monotonic()
while left:
    left -= os.write(1, chunk[:left])
Path(sys.argv[2]).write_text(f"{began!r} {time.monotonic()!r}", encoding="ascii")
