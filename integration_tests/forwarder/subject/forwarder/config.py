"""What the forwarder is told at its start: an ini file, options that go before it, passwords from the environment."""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NEEDED = ("config-topic", "status-topic", "output-broker")
STATUS_FORMATS = ("x5f2", "json")
# Every key but the passwords is an option of the command line too: a password there would show in every process list.
KEYS = (
    *NEEDED,
    "storage-topic",
    "streams-json",
    "log-file",
    "verbosity",
    "status-format",
    "status-interval",
    "pv-update-period",
    "fake-pv-period",
)
PASSWORDS = tuple(f"{key}-sasl-password" for key in (*NEEDED, "storage-topic"))
_VERBOSITIES = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_URI = re.compile(
    r"^(?://|(?P<protocol>[A-Z_]+)(?:\+(?P<mechanism>[A-Z0-9-]+))?\\(?P<user>[^@\\/]+)@)?"
    r"(?P<servers>[\w.\-]+:\d{1,5}(?:,[\w.\-]+:\d{1,5})*)(?:/(?P<topic>[\w.\-]+))?$"
)


class BadConfigError(Exception):
    """The configuration is wrong; the sentence says where."""


@dataclass(frozen=True)
class Broker:
    """How to reach a broker.

    Attributes:
        servers: ``host:port``, several with commas.
        protocol: Kafka's security protocol, "" for plain text.
        mechanism: SASL mechanism.
        user: SASL user.
        password: SASL password.
    """

    servers: str
    protocol: str = ""
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    def client_options(self) -> dict[str, str]:
        """Return the options of librdkafka that say so."""
        given = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.user,
            "sasl.password": self.password,
        }
        return {key: value for key, value in given.items() if value}


@dataclass(frozen=True)
class Topic:
    """A topic on a broker."""

    broker: Broker
    name: str


@dataclass(frozen=True)
class Config:
    """What the forwarder was told at its start.

    Attributes:
        commands: where commands come from.
        status: where status messages go.
        output: the broker for data.
        storage: where the streams are kept for the next start, None for nowhere.
        streams_json: a file with streams to begin with, "" for none.
        log_file: a file that gets the log beside standard output, "" for none.
        status_format: x5f2 or json.
        update_period: seconds after which a PV without a change is sent again, None for never.
        fake_pv_period: seconds between two updates of a fake PV.
        status_interval: seconds between two status messages when nothing changes.
        verbosity: log level.
    """

    commands: Topic
    status: Topic
    output: Broker
    storage: Topic | None = None
    streams_json: str = ""
    log_file: str = ""
    status_format: str = "x5f2"
    update_period: float | None = None
    fake_pv_period: float = 0.1
    status_interval: float = 1.0
    verbosity: str = "INFO"


def _broker(text: str, key: str, password: str) -> tuple[Broker, str]:
    match = _URI.match(text)
    if not match:
        raise BadConfigError(
            f"{key} is {text!r}, host:port/topic or PROTOCOL+MECHANISM\\user@host:port/topic was needed"
        )
    found = {name: value or "" for name, value in match.groupdict().items()}
    if found["user"] and not password:
        raise BadConfigError(f"{key} names a user, but there is no {key}-sasl-password")
    return (
        Broker(
            found["servers"], found["protocol"], found["mechanism"], found["user"], password if found["user"] else ""
        ),
        found["topic"],
    )


def _topic(text: str, key: str, password: str) -> Topic:
    broker, topic = _broker(text, key, password)
    if not topic:
        raise BadConfigError(f"{key} is {text!r}, which names no topic")
    return Topic(broker, topic)


def _seconds(text: str, key: str) -> float:
    if not text.isdigit() or int(text) == 0:
        raise BadConfigError(f"{key} is {text!r}, a number of milliseconds above 0 was needed")
    return int(text) / 1000


def _one_of(text: str, key: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise BadConfigError(f"{key} is {text!r}, one of {', '.join(allowed)} was needed")
    return text


def read_ini(path: Path) -> dict[str, str]:
    """Return the keys and values of an ini file without sections. Raises BadConfigError."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("[forwarder]\n" + path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadConfigError(f"{path}: {error}") from error
    table = dict(parser["forwarder"])
    if unknown := sorted(set(table) - {*KEYS, *PASSWORDS}):
        raise BadConfigError(f"{path}: unknown keys {', '.join(unknown)}")
    return table


def make_config(table: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Config:
    """Return what keys and values mean.

    A password that is not among them is taken from the environment: ``config-topic-sasl-password`` from
    ``CONFIG_TOPIC_SASL_PASSWORD``.

    Raises:
        BadConfigError: a key is missing or has a wrong value.
    """
    if missing := [key for key in NEEDED if key not in table]:
        raise BadConfigError(f"missing keys: {', '.join(missing)}")

    def password(key: str) -> str:
        name = f"{key}-sasl-password"
        return table.get(name) or environment.get(name.upper().replace("-", "_"), "")

    def topic(key: str) -> Topic:
        return _topic(table[key], key, password(key))

    return Config(
        commands=topic("config-topic"),
        status=topic("status-topic"),
        output=_broker(table["output-broker"], "output-broker", password("output-broker"))[0],
        storage=topic("storage-topic") if "storage-topic" in table else None,
        streams_json=table.get("streams-json", ""),
        log_file=table.get("log-file", ""),
        status_format=_one_of(table.get("status-format", "x5f2"), "status-format", STATUS_FORMATS),
        update_period=_seconds(table["pv-update-period"], "pv-update-period") if "pv-update-period" in table else None,
        fake_pv_period=_seconds(table.get("fake-pv-period", "100"), "fake-pv-period"),
        status_interval=_seconds(table.get("status-interval", "1000"), "status-interval"),
        verbosity=_one_of(table.get("verbosity", "INFO").upper(), "verbosity", _VERBOSITIES),
    )
