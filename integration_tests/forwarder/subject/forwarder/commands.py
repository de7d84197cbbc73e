"""The commands of the configuration topic, in three dialects: JSON, and FlatBuffers rf5k and fc00."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from streaming_data_types import deserialise_fc00, deserialise_rf5k
from streaming_data_types.fbschemas.forwarder_config_update_fc00.Protocol import Protocol
from streaming_data_types.fbschemas.forwarder_config_update_fc00.UpdateType import UpdateType
from streaming_data_types.forwarder_config_update_fc00 import StreamInfo, serialise_fc00

if TYPE_CHECKING:
    from collections.abc import Iterable

PROVIDERS = {"pva": Protocol.PVA, "ca": Protocol.CA, "fake": Protocol.FAKE}
SCHEMAS = ("f142",)
_BY_NUMBER = {number: name for name, number in PROVIDERS.items()}
_DESERIALISERS = {b"rf5k": deserialise_rf5k, b"fc00": deserialise_fc00}


class BadCommandError(Exception):
    """A command that cannot be understood."""


@dataclass(frozen=True)
class Stream:
    """One process variable on its way to one topic.

    Attributes:
        channel: name of the process variable.
        provider: pva, ca or fake.
        schema: FlatBuffers file identifier of its messages.
        topic: where they go.
        periodic: whether it is sent again when it did not change for the update period.
    """

    channel: str
    provider: str
    schema: str
    topic: str
    periodic: bool = True


@dataclass(frozen=True)
class Pattern:
    """Which streams to remove: ``*`` and ``?`` are wildcards, "" matches everything."""

    channel: str = ""
    schema: str = ""
    topic: str = ""

    def matches(self, stream: Stream) -> bool:
        """Return whether it means ``stream``."""
        pairs = ((self.channel, stream.channel), (self.schema, stream.schema), (self.topic, stream.topic))
        # A bracket is a letter here, not a set of letters as fnmatch has it.
        return all(not wanted or fnmatchcase(is_so, wanted.replace("[", "[[]")) for wanted, is_so in pairs)


@dataclass(frozen=True)
class Command:
    """What to do.

    Attributes:
        kind: add ``streams``; remove what ``patterns`` match, or the channel called ``channel``; remove everything;
            replace everything by ``streams``; exit.
        streams: what is added.
        patterns: what is removed.
        channel: what is removed, literally.
    """

    kind: Literal["add", "remove", "remove_all", "replace", "exit"]
    streams: tuple[Stream, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    channel: str = ""

    def removes(self, stream: Stream) -> bool:
        """Return whether ``stream`` must go."""
        if self.kind in ("remove_all", "replace"):
            return stream not in self.streams
        if self.kind != "remove":
            return False
        return stream.channel == self.channel or any(pattern.matches(stream) for pattern in self.patterns)


def _checked(stream: Stream) -> Stream:
    if not stream.channel or not stream.topic or stream.provider not in PROVIDERS or stream.schema not in SCHEMAS:
        raise BadCommandError(f"{stream}: needs a channel, a topic, one of {tuple(PROVIDERS)} and one of {SCHEMAS}")
    return stream


def streams_from_json(table: Any) -> tuple[Stream, ...]:
    """Return the streams in ``{"streams": [{"channel", "channel_provider_type", "converter"}]}``.

    Raises:
        BadCommandError: one is not whole.
    """
    streams = []
    try:
        for one in table.get("streams", ()):
            converter = one["converter"]
            provider = str(one.get("channel_provider_type", "pva"))
            streams.append(Stream(str(one["channel"]), provider, str(converter["schema"]), str(converter["topic"])))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadCommandError(f"streams in {str(table)[:200]} lack {error}") from error
    return tuple(_checked(stream) for stream in streams)


def _from_json(data: bytes) -> Command:
    try:
        table = json.loads(data)
        kind = table["cmd"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadCommandError(f"no command: {data[:100]!r}") from error
    if kind == "add":
        return Command("add", streams=streams_from_json(table))
    if kind == "stop_channel":
        return Command("remove", channel=str(table.get("channel", "")))
    if kind == "stop_all":
        return Command("remove_all")
    if kind == "exit":
        return Command("exit")
    raise BadCommandError(f"command {kind!r} is not known")


def _from_flatbuffer(data: bytes) -> Command:
    try:
        update = _DESERIALISERS[data[4:8]](data)
    except Exception as error:  # a decoder raises whatever it trips over
        raise BadCommandError(f"malformed {data[4:8]!r} command: {error}") from error
    if update.config_change == UpdateType.REMOVE:
        patterns = tuple(Pattern(one.channel, one.schema, one.topic) for one in update.streams)
        if Pattern() in patterns:
            raise BadCommandError("a REMOVE names neither channel nor schema nor topic; REMOVEALL removes all")
        return Command("remove", patterns=patterns)
    if update.config_change == UpdateType.REMOVEALL:
        return Command("remove_all")
    streams = tuple(
        _checked(
            Stream(
                one.channel,
                _BY_NUMBER.get(one.protocol, str(one.protocol)),
                one.schema,
                one.topic,
                bool(getattr(one, "periodic", True)),
            )
        )
        for one in update.streams
    )
    if update.config_change == UpdateType.ADD:
        return Command("add", streams=streams)
    if update.config_change == UpdateType.REPLACE:
        return Command("replace", streams=streams)
    raise BadCommandError(f"configuration change {update.config_change} is not known")


def parse_command(data: bytes) -> Command:
    """Return the command in ``data``. Raises BadCommandError."""
    return _from_flatbuffer(data) if data[4:8] in _DESERIALISERS else _from_json(data)


def stored(streams: Iterable[Stream]) -> bytes:
    """Return the command that brings exactly these streams back."""
    message: bytes = serialise_fc00(
        UpdateType.REPLACE,
        [StreamInfo(one.channel, one.schema, one.topic, PROVIDERS[one.provider], int(one.periodic)) for one in streams],
    )
    return message
