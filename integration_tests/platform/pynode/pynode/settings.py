"""What a model server is told by its environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 60.0
"""Seconds that a model may be told to take."""


class BadSettingError(Exception):
    """A setting means nothing; the words say which, what was seen and what was needed."""


@dataclass(frozen=True)
class Settings:
    """Which model is served where, and how it misbehaves.

    Attributes:
        folder: of the models.
        file: the model's name in it.
        host: where the server listens.
        port: on which port.
        load_seconds: how long loading takes, beside what it takes.
        seconds: how long each prediction takes, beside what it takes.
        crash_at: the prediction, counted from 1, at which the process ends; 0 for none.
    """

    folder: Path
    file: str
    host: str
    port: int
    load_seconds: float = 0.0
    seconds: float = 0.0
    crash_at: int = 0


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings that an environment has. Raises BadSettingError."""
    file = environ.get("MODEL_FILE", "")
    if not file or Path(file).name != file:
        raise BadSettingError(f"MODEL_FILE is {file!r}, the name of a file in the model folder was needed")
    host, _, port = environ.get("LISTEN", "0.0.0.0:9000").rpartition(":")
    if not host or not port.isdecimal():
        raise BadSettingError(f"LISTEN is {environ['LISTEN']!r}, HOST:PORT was needed")
    options = _options(environ.get("MODEL_OPTIONS") or "{}")
    return Settings(
        Path(environ.get("MODEL_FOLDER", "/models")),
        file,
        host,
        int(port),
        _seconds(options, "load_seconds"),
        _seconds(options, "seconds"),
        _count(options, "crash_at"),
    )


def _options(written: str) -> dict[str, Any]:
    try:
        options = json.loads(written)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise BadSettingError(f"MODEL_OPTIONS is {written!r}, a JSON object was needed")
    if unknown := sorted(set(options) - {"load_seconds", "seconds", "crash_at"}):
        raise BadSettingError(f"MODEL_OPTIONS has {unknown[0]!r}; there are load_seconds, seconds and crash_at")
    return options


def _seconds(options: dict[str, Any], key: str) -> float:
    value = options.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise BadSettingError(f"{key} of MODEL_OPTIONS is {value!r}, a number from 0 to {LONGEST:g} was needed")
    return float(value)


def _count(options: dict[str, Any], key: str) -> int:
    value = options.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadSettingError(f"{key} of MODEL_OPTIONS is {value!r}, a whole number from 0 on was needed")
    return value
