"""What a service was told about others, by its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.readiness.reasons import Variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.stack import Service, Tree


def variables_of(service: Service, tree: Tree, stack: str) -> Variables:
    """Return what a service of ``stack`` was told about others, from its file."""
    process = service.settings.embedded
    added = {key: str(value) for key, value in (process.environment if process else {}).items()}
    words = [*_words(service.compose.get("command")), *(process.command if process else ())]
    others = {service.name, *_own_names(service.compose)}
    for _, known in tree.visible(stack).values():
        others |= _own_names(known.compose)
    return Variables(
        texts={**service.environment, **added, "its command": " ".join(words)},
        services=frozenset(tree.visible(stack)) - {service.name},
        others=frozenset(others),
    )


def _words(command: object) -> list[str]:
    return [str(word) for word in command] if isinstance(command, list) else [str(command or "")]


def _own_names(table: Mapping[str, Any]) -> set[str]:
    """Return further names of a service on its networks, and those that it gives to others for itself."""
    names = {str(table[key]) for key in ("hostname", "container_name") if table.get(key)}
    for network in (table.get("networks") or {}).values():
        names.update((network or {}).get("aliases") or ())
    for key in ("extra_hosts", "links"):
        names.update(
            str(entry).replace("=", ":").rpartition(":")[0 if key == "extra_hosts" else 2]
            for entry in table.get(key) or ()
        )
    return names
