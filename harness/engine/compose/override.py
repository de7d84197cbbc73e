"""Generated Compose files: values with the tags by which Compose replaces or drops what a file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml


class _Override(yaml.SafeDumper):
    """Writes the tags with which Compose replaces or drops what a file says ("Merge" in its specification)."""


@dataclass(frozen=True)
class Replaced:
    """A value that stands in the place of the file's."""

    value: Any


class Reset:
    """The file says nothing of this key."""


def write(override: dict[str, Any]) -> str:
    """Return a Compose file that is merged with others."""
    return yaml.dump(_doubled(override), Dumper=_Override, sort_keys=False, width=200)


def _doubled(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """Double each ``$``: Compose interpolates the override as it does every file."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Replaced):
        return Replaced(_doubled(value.value))
    if isinstance(value, list):
        return [_doubled(item) for item in value]
    if isinstance(value, dict):
        return {key: _doubled(item) for key, item in value.items()}
    return value


def _replaced(dumper: yaml.SafeDumper, data: Replaced) -> yaml.Node:
    node = dumper.represent_data(data.value)
    node.tag = "!override"
    return node


_Override.add_representer(Replaced, _replaced)
_Override.add_representer(Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))
