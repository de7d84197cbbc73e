"""Another forwarder, in few words: fc00 commands only, f144 updates, ep01 messages beside them, an ini file of its own.

``python terse.py --config-file FILE [--log-file FILE]``. It is there to be tested in place of ``forwarder``, with whose
sources it watches process variables.
"""

from __future__ import annotations

import argparse
import configparser
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forwarder import app, commands
from forwarder.commands import BadCommandError, Command, Stream, parse_command
from forwarder.config import Broker, Config, Topic
from streaming_data_types import serialise_ep01, serialise_f144
from streaming_data_types.epics_connection_ep01 import ConnectionInfo

if TYPE_CHECKING:
    from forwarder.updates import Update

TERMINATED = 128 + signal.SIGTERM
log = logging.getLogger("terse")


class Numbers:
    """Makes f144 messages: a time and a number, or several."""

    def __init__(self, channel: str) -> None:
        self.channel = channel

    def convert(self, update: Update) -> bytes:
        """Return the message for ``update``. Raises NotImplementedError: it is a text."""
        message: bytes = serialise_f144(self.channel, update.value, update.timestamp)
        return message


def only_fc00(data: bytes) -> Command:
    """Return the command in ``data``. Raises BadCommandError."""
    if data[4:8] != b"fc00":
        raise BadCommandError(f"{data[:12]!r} is no fc00 message")
    return parse_command(data)


class Terse(app.Forwarder):
    """Says of each stream when it begins and ends, beside its updates."""

    def add(self, stream: Stream) -> None:
        """Begin to forward a stream."""
        if stream not in self.streams:
            log.info("now forwarding %s", stream.channel)
            self._tell(stream, ConnectionInfo.CONNECTED)
        super().add(stream)

    def _close(self, stream: Stream) -> None:
        super()._close(stream)
        self._tell(stream, ConnectionInfo.CANCELLED)

    def repeat(self, stream: Stream, update: Update) -> None:
        """Send a value once more, and that its channel is there."""
        self._tell(stream, ConnectionInfo.CONNECTED)
        super().repeat(stream, update)

    def _tell(self, stream: Stream, state: Any) -> None:
        self.send(stream, serialise_ep01(time.time_ns(), state, stream.channel), time.time_ns())


def configure(path: Path, log_file: str) -> Config:
    """Return what an ini file says. Raises KeyError, ValueError or a configparser.Error."""
    parser = configparser.ConfigParser(interpolation=None)
    with path.open(encoding="utf-8") as file:
        parser.read_file(file)
    broker = Broker(parser["kafka"]["broker"])
    topics = parser["topics"]
    pace = parser["pace"] if parser.has_section("pace") else {}
    return Config(
        commands=Topic(broker, topics["commands"]),
        status=Topic(broker, topics["status"]),
        output=broker,
        log_file=log_file,
        update_period=float(pace["repeat-after"]) if "repeat-after" in pace else None,
        fake_pv_period=float(pace.get("fake-every", "0.1")),
    )


def main() -> int:
    """Run until TERM or INT comes."""
    parser = argparse.ArgumentParser(prog="terse")
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--log-file", default="")
    given = parser.parse_args()
    try:
        config = configure(given.config_file, given.log_file)
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
        handlers += [logging.FileHandler(config.log_file, encoding="utf-8")] if config.log_file else []
    except (OSError, KeyError, ValueError, configparser.Error) as error:
        print(f"terse: {given.config_file}: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers)
    app.Converter = Numbers  # type: ignore[attr-defined,assignment]
    app.parse_command = only_fc00  # type: ignore[attr-defined]
    commands.SCHEMAS = ("f144",)
    forwarder = Terse(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: forwarder.stop())
    forwarder.run()
    return TERMINATED


if __name__ == "__main__":
    sys.exit(main())
