"""Which images this user has built on this machine: a list of their ids in the cache folder, and names of builds.

Labels and names prove nothing of that on an engine that several machines, users or containers use. Each entry has the
machine with it, since a home folder may be that of several machines too, and a path is only known to be gone where it
was.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.artifacts import open_regular, read_regular, write_atomically
from harness.errors import HarnessError
from harness.ownership.identity import Owner, is_proven_dead, this_process
from harness.stack.cache import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE = "images.built"
BEGUN = ".begun"  # ending of the file of a build that goes on, or was killed
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


def note_begun(build: str, host: str, names: Iterable[str], environ: Mapping[str, str]) -> None:
    """Note which names a build of this process gives to images on an engine, for whoever comes when it is dead."""
    if folder := folder_of(environ):
        with suppress(OSError):  # `gc --images` will take them then
            facts = {"host": host, "names": sorted(names), "owner": this_process().as_dict()}
            write_atomically(folder / f"{build}{BEGUN}", json.dumps(facts))


def forget_begun(build: str, environ: Mapping[str, str]) -> None:
    """Forget the names of a build, which are gone."""
    if folder := folder_of(environ):
        with suppress(OSError):
            (folder / f"{build}{BEGUN}").unlink(missing_ok=True)


def begun_by_dead(host: str, environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return build -> the names that it may have left on an engine, of builds whose process is certainly gone."""
    found: dict[str, list[str]] = {}
    folder, here = folder_of(environ), this_process()
    for path in folder.glob(f"build-*{BEGUN}") if folder else ():
        build = path.name.removesuffix(BEGUN)
        with suppress(OSError, ValueError, KeyError, TypeError, HarnessError):
            facts = json.loads(read_regular(path, _LARGEST))
            names = [str(name) for name in facts["names"] if str(name).endswith(f":{build}")]
            if facts["host"] == host and is_proven_dead(Owner.of(facts["owner"]), here):
                found[build] = names
    return found
