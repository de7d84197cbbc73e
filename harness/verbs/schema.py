"""JSON schemas of what users write and read, made from the same values that check and write it."""

from __future__ import annotations

import json
from typing import Any

from harness.config import SYSTEM_KEYS, TOP_KEYS
from harness.config.notices import NOTICE_KEYS
from harness.config.options import OPTIONS
from harness.config.pins import PIN_KEYS
from harness.config.residue import ALLOW_KEYS, RESIDUE_KEYS, WATCHED
from harness.config.subjects import ABOUT_KEYS, BUILD_KEYS, KINDS, SUBJECT_KEYS
from harness.errors import ConfigError, nearest
from harness.reporting.interop.schema import report_schema
from harness.stack.model import ServiceSettings, StackSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 1},
    bool: {"type": "boolean"},
    list: {"type": "array", "items": {"type": "string"}},
    dict: {"type": "object", "additionalProperties": {"type": "string"}},
}


def schemas() -> dict[str, str]:
    """Return name -> JSON schema: ``x-harness`` (whole Compose files), ``tool-harness``, ``interop-report``."""
    return {
        "x-harness": _text(_compose()),
        "tool-harness": _text(_table()),
        "interop-report": _text(report_schema(DIALECT)),
    }


def schema(name: str) -> str:
    """Return one schema. Raises ConfigError when there is none of that name."""
    texts = schemas()
    if name not in texts:
        raise ConfigError(f"Schema {name!r} is not known; there are: {', '.join(texts)}{nearest(name, texts)}")
    return texts[name]


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def _compose() -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    for model in (StackSettings, ServiceSettings):
        document = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions |= document.pop("$defs", {})
        definitions[model.__name__] = document
    service = {"type": "object", "properties": {"x-harness": {"$ref": "#/$defs/ServiceSettings"}}}
    return {
        "$schema": DIALECT,
        "title": "x-harness in a Compose file",
        "description": "What the harness adds to the Compose specification, at the top of a file and in its services.",
        "type": "object",
        "properties": {
            "x-harness": {"$ref": "#/$defs/StackSettings"},
            "services": {"type": "object", "additionalProperties": service},
        },
        "$defs": definitions,
    }


def _table() -> dict[str, Any]:
    properties = {key: dict(_TYPES[kind]) for key, kind in TOP_KEYS.items()}
    properties["reruns"]["minimum"] = 0
    properties |= {
        option.key: {"enum": list(option.valid)}
        for option in OPTIONS.values()
        if option.valid and "." not in option.key
    }
    system = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: dict(_TYPES[kind]) for key, kind in SYSTEM_KEYS.items()},
    }
    properties["subjects"] = {"type": "object", "additionalProperties": _subject()}
    pin = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: dict(_TYPES[kind]) for key, kind in PIN_KEYS.items()},
    }
    properties["pins"] = {"type": "object", "additionalProperties": pin}
    properties["residue"] = _residue()
    properties["notices"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: dict(_TYPES[kind]) for key, kind in NOTICE_KEYS.items()},
    }
    properties["attach"] = {"type": "object", "additionalProperties": dict(_TYPES[dict])}
    properties["overlays"] = dict(_TYPES[dict])
    properties["systems"] = {"type": "object", "additionalProperties": system}
    return {
        "$schema": DIALECT,
        "title": "[tool.harness] in pyproject.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _residue() -> dict[str, Any]:
    """Return what the table about what tests leave may have."""
    entry = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: dict(_TYPES[kind]) for key, kind in ALLOW_KEYS.items()} | {"kind": {"enum": list(WATCHED)}},
        "required": list(ALLOW_KEYS),
    }
    properties = {key: dict(_TYPES[kind]) for key, kind in RESIDUE_KEYS.items()}
    properties |= {"mode": {"enum": list(OPTIONS["residue"].valid)}, "allow": {"type": "array", "items": entry}}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _subject() -> dict[str, Any]:
    """Return what the table of a subject may have: one source and what goes with it, or what it is, or both."""
    values = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    build = {key: dict(_TYPES[kind]) for key, kind in BUILD_KEYS.items()} | {"args": values}
    properties = {key: dict(_TYPES[kind]) for key, kind in SUBJECT_KEYS.items()} | build
    properties["build"] = {"type": "object", "additionalProperties": False, "properties": build}
    sources, about = ([{"required": [key]} for key in keys] for keys in (KINDS, ABOUT_KEYS))
    properties["commit"] = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "oneOf": [*sources, {"anyOf": about, "not": {"anyOf": sources}}],
        "dependentRequired": {"git": ["commit"]},
    }
