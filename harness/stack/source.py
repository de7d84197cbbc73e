"""Places in Compose files. Values never come from here: Compose is the parser; this pass only knows lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INSTEAD = ("!override", "!reset")


@dataclass(frozen=True)
class Source:
    """A Compose file as text with places.

    Attributes:
        path: the file.
        text: its content.
        root: the YAML node tree, None when it is no YAML.
        problem: what is wrong with its syntax, with the line, "" when nothing is.
    """

    path: Path
    text: str
    root: yaml.Node | None
    problem: str = ""

    def line(self, *keys: str | int) -> int:
        """Return the line, from 1, of the deepest part of the key path that exists."""
        node, line = self.root, 1
        for key in keys:
            entry = _step(node, key)
            if entry is None:
                break
            place, node = entry
            line = place.start_mark.line + 1
        return line

    def at(self, *keys: str | int) -> str:
        """Return ``file:line`` of a key path."""
        return f"{self.path}:{self.line(*keys)}"

    def keys(self, *path: str | int) -> list[str]:
        """Return the keys of the mapping at ``path``, none when there is no mapping."""
        node = self._at(path)
        return [str(key.value) for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []

    def scalars(self, *path: str | int) -> object:
        """Return the node at ``path`` as plain strings, lists and dicts of strings, None when it is not there."""
        return _plain(self._at(path))

    def _at(self, path: Sequence[str | int]) -> yaml.Node | None:
        node = self.root
        for key in path:
            entry = _step(node, key)
            if entry is None:
                return None
            node = entry[1]
        return node

    def line_of_text(self, text: str) -> int:
        """Return the first line that contains ``text``, 1 when none does."""
        for number, line in enumerate(self.text.splitlines(), 1):
            if text in line:
                return number
        return 1

    def line_using(self, variable: str) -> int | None:
        """Return the first line that uses ``variable`` without a default, None when none does."""
        return line_using(self.text, variable)


def place_in(sources: Sequence[Source], *keys: str | int) -> str:
    """Return ``file:line`` of the deepest part of a key path that is in files that Compose lays over each other.

    It is in the last of them that has it. An index counts the items of all of them, as Compose does: those of a later
    file come after, without such as were there before.
    """
    parts: list[tuple[Source, yaml.Node | None]] = [(source, source.root) for source in sources]
    place = f"{sources[0].path}:1"
    for key in keys:
        found = _items(parts)[key : key + 1] if isinstance(key, int) else _steps(parts, key)
        if not found:
            break
        source, at, _ = found[-1]
        place = f"{source.path}:{at.start_mark.line + 1}"
        parts = [(source, value) for source, _, value in found]
    return place


_Step = tuple[Source, yaml.Node, yaml.Node]


def _steps(parts: Sequence[tuple[Source, yaml.Node | None]], key: str) -> list[_Step]:
    """Return (file, where it is written, value) of a key, of each file that has a say in its value."""
    found: list[_Step] = []
    for source, node in parts:
        step = _step(node, key)
        if step:
            found = [] if step[1].tag in _INSTEAD else found
            found.append((source, *step))
    return found


def _items(parts: Sequence[tuple[Source, yaml.Node | None]]) -> list[_Step]:
    """Return (file, where it is written, value) of the items of a list that is in several files."""
    found: list[_Step] = []
    for source, node in parts:
        before = [_plain(item) for _, _, item in found]
        items = node.value if isinstance(node, yaml.SequenceNode) else []
        found += [(source, item, item) for item in items if _plain(item) not in before]
    return found


def line_using(text: str, variable: str) -> int | None:
    """Return the first line of a text that uses ``variable`` without a default, None when none does."""
    use = re.compile(rf"(?<!\$)(?:\$\$)*\$(?:{variable}\b|\{{{variable}\}})")
    for number, line in enumerate(text.splitlines(), 1):
        if use.search(line) and not line.lstrip().startswith("#"):
            return number
    return None


def _step(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return (where it is written, its value) of a key or an index."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item = node.value[key]
        return item, item
    return None


def _plain(node: yaml.Node | None) -> object:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    return None


def read_source(path: Path) -> Source:
    """Read the places of ``path``. A file that is no UTF-8 or no YAML has a ``problem`` and no root."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return Source(path, "", None, f"{path}: is no UTF-8 at byte {error.start}")
    except OSError as error:
        return Source(path, "", None, f"{path}: cannot be read: {error.strerror}")
    try:
        return Source(path, text, yaml.compose(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        return Source(path, text, None, f"{path}:{line}: is no YAML: {reason}")
    except yaml.YAMLError as error:
        return Source(path, text, None, f"{path}: is no YAML: {' '.join(str(error).split())}")
