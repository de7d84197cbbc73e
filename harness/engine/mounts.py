"""What a stack mounts of this machine, and what of that is missing. An engine would make it as a folder of root's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import is_missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Mount, Service, Stack, Tree


def missing_sources(tree: Tree, stack: Stack, service: Service) -> Iterator[str]:
    """Say which sources of a service's bind mounts do not exist, and what to do."""
    for mount in service.mounts:
        if mount.kind == "bind" and not mount.create and is_missing(mount.source) and not _may_come(tree, mount):
            yield (
                f"Service {service.name!r} ({stack.files[0]}): mounted "
                f"{'file' if _is_named_as_file(mount) else 'file or folder'} {mount.source} does not exist; make it, "
                "or, where an empty folder will do, `mkdir -p` it or write bind: {create_host_path: true} at its volume"
            )


def folders_to_make(service: Service) -> tuple[Path, ...]:
    """Return the sources of bind mounts that are to be made as folders, because the file says so."""
    return tuple(Path(mount.source) for mount in service.mounts if mount.create and is_missing(mount.source))


def _is_named_as_file(mount: Mount) -> bool:
    """Return whether either end of a mount has a suffix, as files mostly have and folders do not (but for ``.d``)."""
    return any(Path(end).suffix not in ("", ".d") for end in (mount.source, mount.target))


def _may_come(tree: Tree, wanted: Mount) -> bool:
    """Return whether a service can make a source before it is needed: it is below a folder that one may write."""
    mounts = (mount for stack in tree.stacks for service in stack.services for mount in service.mounts)
    above = (mount.source for mount in mounts if mount.kind == "bind" and not mount.read_only)
    return any(source != wanted.source and Path(wanted.source).is_relative_to(source) for source in above)
