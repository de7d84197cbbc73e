"""The proof that something on an engine is ours: a seal among its labels that fits its own kind and name alone.

Labels are inherited by what is run from an image of a container (``docker commit``), and are easily copied; a seal is
of no use to anything of another name, and only who has the environment's key can make one.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SIZE = 32  # bytes of a key
SEALED = ("harness.run", "harness.nonce", "harness.owner", "harness.schema")  # labels that a seal is over


def user_keys(places: Sequence[Path]) -> list[bytes]:
    """Return the keys of this user that are at ``places``: private files of its own, and nothing else."""
    return [key for key in map(_read, places) if key]


def user_key(places: Sequence[Path]) -> bytes:
    """Return the key of this user; where there is none, one made at the first of ``places`` that takes it, else b""."""
    for place in places:
        with contextlib.suppress(OSError):
            if key := _read(place) or _make(place):
                return key
    return b""


def _read(place: Path) -> bytes:
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        facts = os.fstat(fd)
        private = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
        key = os.read(fd, SIZE + 1) if private else b""
    except OSError:
        return b""
    finally:
        os.close(fd)
    return key if len(key) == SIZE else b""


def _make(place: Path) -> bytes:
    """Make a key; of several that are made at once all get the first. Raises OSError."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = place.with_name(f".{place.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.urandom(SIZE))
        os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(scratch, place)
    finally:
        os.close(fd)
        scratch.unlink(missing_ok=True)
    return _read(place)


def environment_key(key: bytes, env: str) -> str:
    """Return the key of an environment, in hex; one of chance, which only its ledger knows, where the user has none."""
    return hmac.digest(key or os.urandom(SIZE), f"environment {env}".encode(), "sha256").hex()


def seal(key: str, kind: str, name: str, labels: Mapping[str, str]) -> str:
    """Return what proves that something belongs to the environment of ``key``; some of its labels are sealed too."""
    text = json.dumps([kind, name, [labels.get(label, "") for label in SEALED]])
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()


def is_seal(text: str, key: str, kind: str, name: str, labels: Mapping[str, str]) -> bool:
    """Return whether ``text`` is the ``seal`` of something; "" is none."""
    return bool(text and key) and hmac.compare_digest(text.encode(), seal(key, kind, name, labels).encode())
