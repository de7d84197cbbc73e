"""The JSON commands of the configuration topic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

PROVIDERS = ("ca", "pva", "fake")
SCHEMAS = ("f142",)


class BadCommandError(Exception):
    """A command that cannot be understood."""


@dataclass(frozen=True)
class Stream:
    """One process variable on its way to one topic."""

    channel: str
    provider: str
    schema: str
    topic: str


@dataclass(frozen=True)
class Command:
    """What to do: add streams, stop one channel, stop all, or exit."""

    kind: Literal["add", "stop_channel", "stop_all", "exit"]
    streams: tuple[Stream, ...] = ()
    channel: str = ""


def _stream(table: Any) -> Stream:
    try:
        converter = table["converter"]
        stream = Stream(
            channel=str(table["channel"]),
            provider=str(table.get("channel_provider_type", "pva")),
            schema=str(converter["schema"]),
            topic=str(converter["topic"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadCommandError(f"stream {table!r} lacks {error}") from error
    if stream.provider not in PROVIDERS or stream.schema not in SCHEMAS:
        raise BadCommandError(f"stream {table!r}: providers are {PROVIDERS}, schemas are {SCHEMAS}")
    return stream


def parse_command(data: bytes) -> Command:
    """Return the command in ``data``. Raises BadCommandError."""
    try:
        table = json.loads(data)
        kind = table["cmd"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadCommandError(f"no JSON command: {data[:100]!r}") from error
    if kind == "add":
        return Command("add", streams=tuple(_stream(one) for one in table.get("streams", ())))
    if kind == "stop_channel":
        return Command("stop_channel", channel=str(table.get("channel", "")))
    if kind in ("stop_all", "exit"):
        return Command(kind)
    raise BadCommandError(f"command {kind!r} is not known")
