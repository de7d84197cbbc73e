"""How an engine writes the names of images."""

from __future__ import annotations

# Podman lists what has no registry in its name as one of these ("short names" in containers-registries.conf).
_IMPLIED = ("docker.io/library/", "docker.io/", "localhost/")


def plain(name: str) -> str:
    """Return the name of an image without a registry that goes without saying: as Docker lists it, on every engine."""
    return next((name.removeprefix(prefix) for prefix in _IMPLIED if name.startswith(prefix)), name)
