"""The ini file."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

_KEYS = {"config-topic", "status-topic", "output-broker", "fake-pv-period", "status-interval", "verbosity"}
_NEEDED = {"config-topic", "status-topic", "output-broker"}
_TOPIC = re.compile(r"^(?://)?([\w.\-]+:\d+)/([\w.\-]+)$")


class BadConfigError(Exception):
    """The ini file is wrong; the sentence says where."""


@dataclass(frozen=True)
class Topic:
    """A topic on a broker, written ``host:port/topic`` or ``//host:port/topic``."""

    broker: str
    name: str


@dataclass(frozen=True)
class Config:
    """What the forwarder was told at its start.

    Attributes:
        commands: where commands come from.
        status: where status messages go.
        output: bootstrap servers for data.
        fake_pv_period: seconds between two updates of a fake PV.
        status_interval: seconds between two status messages when nothing changes.
        verbosity: log level.
    """

    commands: Topic
    status: Topic
    output: str
    fake_pv_period: float = 0.1
    status_interval: float = 1.0
    verbosity: str = "INFO"


def _topic(text: str, key: str) -> Topic:
    match = _TOPIC.match(text)
    if not match:
        raise BadConfigError(f"{key} is {text!r}, host:port/topic was needed")
    return Topic(match[1], match[2])


def _seconds(text: str, key: str) -> float:
    if not text.isdigit() or int(text) == 0:
        raise BadConfigError(f"{key} is {text!r}, a number of milliseconds above 0 was needed")
    return int(text) / 1000


def read_config(path: Path) -> Config:
    """Read the ini file. Raises BadConfigError."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("[forwarder]\n" + path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadConfigError(f"{path}: {error}") from error
    table = dict(parser["forwarder"])
    unknown, missing = set(table) - _KEYS, _NEEDED - set(table)
    if unknown or missing:
        raise BadConfigError(f"{path}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
    return Config(
        commands=_topic(table["config-topic"], "config-topic"),
        status=_topic(table["status-topic"], "status-topic"),
        output=table["output-broker"],
        fake_pv_period=_seconds(table.get("fake-pv-period", "100"), "fake-pv-period"),
        status_interval=_seconds(table.get("status-interval", "1000"), "status-interval"),
        verbosity=table.get("verbosity", "INFO").upper(),
    )
