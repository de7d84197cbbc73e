"""The smallest service: answers HTTP with JSON, green from a moment on. ``web.py ADDRESS PORT [SECONDS FILE]``.

With SECONDS the moment is a random one in so many seconds from the start (not before it can answer), and its monotonic
time stands in FILE. What is imported here counts: sixty of these are started at once.
"""

from __future__ import annotations

import os
import socket
import sys
import time

began = time.monotonic()
address, port = sys.argv[1], int(sys.argv[2])
with socket.create_server((address, port), backlog=128) as listener:
    moment = 0.0
    if sys.argv[3:]:
        share = int.from_bytes(os.urandom(4), "big") / (1 << 32)
        moment = max(time.monotonic(), began + share * float(sys.argv[3]))
        with open(sys.argv[4], "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes longer to load than the rest
            file.write(repr(moment))
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            body = b'{"status": "%s"}' % (b"green" if time.monotonic() >= moment else b"red")
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            connection.sendall(head + body)
