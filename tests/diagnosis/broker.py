"""A program that answers as a Kafka broker does, as far as a client needs to read its metadata; the rest is silence.

Its words: HOST PORT ADVERTISED TOPICS; ADVERTISED is what it says of itself, TOPICS is ``name=leader,...``. SECONDS, a
variable, is how long it takes for Metadata. It speaks ApiVersions in version 0 and Metadata in version 1 ("Protocol" in
the Apache Kafka documentation).
"""

from __future__ import annotations

import os
import socketserver
import struct
import sys
import threading

API_VERSIONS, METADATA, UNSUPPORTED = 18, 3, 35
SPOKEN = {API_VERSIONS: (0, 0), METADATA: (1, 1), 0: (0, 2), 1: (0, 3), 2: (0, 0), 10: (0, 0), 19: (0, 0)}
NODE, NO_RACK = 1, -1
NOT_INTERNAL = b"\0"
PADDING = bytes(1024)  # librdkafka reserves memory for an answer by its size, too little for a very short one


def text(value: str) -> bytes:
    """Return a string of the protocol."""
    return struct.pack(">h", len(value)) + value.encode()


def versions(asked: int) -> bytes:
    """Return the answer to ApiVersions, always in version 0, as brokers do for versions that they do not know."""
    rows = [struct.pack(">hhh", key, *span) for key, span in SPOKEN.items()]
    return struct.pack(">hi", UNSUPPORTED if asked else 0, len(rows)) + b"".join(rows)


def metadata(advertised: str, topics: dict[str, int]) -> bytes:
    """Return the answer to Metadata: one broker, and every topic with one partition."""
    host, _, port = advertised.rpartition(":")
    parts = [struct.pack(">ii", 1, NODE), text(host), struct.pack(">ihi", int(port), NO_RACK, NODE)]
    parts.append(struct.pack(">i", len(topics)))
    for name, leader in topics.items():
        error = 0 if leader >= 0 else 5  # LEADER_NOT_AVAILABLE
        parts += [struct.pack(">h", 0), text(name), NOT_INTERNAL]
        parts.append(struct.pack(">ihiiii", 1, error, 0, leader, 0, 0))
    return b"".join([*parts, PADDING])


class Handler(socketserver.StreamRequestHandler):
    """One client."""

    def handle(self) -> None:
        """Answer what is understood."""
        while head := self.rfile.read(4):
            key, version, correlation = struct.unpack(">hhi", self.rfile.read(struct.unpack(">i", head)[0])[:8])
            if key == METADATA:
                threading.Event().wait(float(os.environ.get("SECONDS", "0")))
            if key in (API_VERSIONS, METADATA):
                advertised, topics = sys.argv[3], dict(item.split("=") for item in sys.argv[4:])
                leaders = {name: int(leader) for name, leader in topics.items()}
                body = versions(version) if key == API_VERSIONS else metadata(advertised, leaders)
                self.wfile.write(struct.pack(">ii", 4 + len(body), correlation) + body)


class Server(socketserver.ThreadingTCPServer):
    """All of them."""

    allow_reuse_address = daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
