"""What must not be asked of a proxy: who knows of one sends it every request that NO_PROXY does not except."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROXIES = frozenset(["http_proxy", "https_proxy", "all_proxy", "ftp_proxy"])
_EXCEPTIONS = ("NO_PROXY", "no_proxy")


def exceptions(environ: Mapping[str, str], hosts: Iterable[str]) -> dict[str, str]:
    """Return ``NO_PROXY`` and ``no_proxy`` with ``hosts`` among them, {} for an environment that names no proxy.

    Each host is named, as Python's urllib and others take no ranges. Which of the two spellings is read differs too.
    """
    if not any(name.lower() in _PROXIES and value for name, value in environ.items()):
        return {}
    written = [part.strip() for name in _EXCEPTIONS for part in environ.get(name, "").split(",")]
    if "*" in written:
        return {}
    text = ",".join(part for part in dict.fromkeys([*written, *sorted(set(hosts))]) if part)
    return dict.fromkeys(_EXCEPTIONS, text)


class Directly:
    """What this process is to ask without a proxy, for as long as that is there."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def ask(self, hosts: Iterable[str]) -> None:
        """Have clients in this process, and in those that it starts, ask ``hosts`` themselves."""
        for name, value in exceptions(os.environ, hosts).items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def forget(self) -> None:
        """Leave the environment as it was found."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
