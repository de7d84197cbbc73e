"""Which images this user has built on this machine: a list of their ids in the cache folder.

Labels and names prove nothing of that on an engine that several machines, users or containers use. Each entry has the
machine with it, since a home folder may be that of several machines too, and a path is only known to be gone where it
was.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.artifacts import open_regular, read_regular
from harness.errors import HarnessError
from harness.ownership.identity import this_process
from harness.stack.cache import folder_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "images.built"
_LARGEST = 16 << 20  # bytes, of more than 100,000 builds


def machine() -> str:
    """Return what stands for this machine or container, whose machine id may be a copy, or not be there."""
    return hashlib.sha256(f"{this_process().machine}\0{os.uname().nodename}".encode()).hexdigest()[:16]


def note(image: str, environ: Mapping[str, str]) -> None:
    """Note that an image was built here, by its id."""
    folder = folder_of(environ)
    if folder is None or image in built_here(environ):
        return
    with suppress(OSError):  # it will stay then
        fd = open_regular(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor
            file.write(f"{machine()} {image}\n".encode())


def built_here(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the ids of all images that were built here, as far as that is known."""
    folder, here = folder_of(environ), machine()
    if folder is None:
        return frozenset()
    try:
        lines = read_regular(folder / FILE, _LARGEST).decode().splitlines()
    except (OSError, ValueError, HarnessError):
        return frozenset()
    return frozenset(image for whose, _, image in (line.partition(" ") for line in lines) if whose == here)
