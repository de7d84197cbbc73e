"""The environment of a pytest process while its tests run, and as it was before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping


class Variables:
    """What is set for the tests of one session."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._before: dict[str, str | None] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names of those that are set now."""
        return frozenset(self._before)

    def give(self, values: Mapping[str, str]) -> None:
        """Set variables."""
        for name, value in values.items():
            self._before.setdefault(name, self._environ.get(name))
            self._environ[name] = value

    def put_back(self, names: Iterable[str] | None = None) -> None:
        """Have variables (default: all that were set) as they were before."""
        for name in list(self._before) if names is None else names:
            if name in self._before:
                value = self._before.pop(name)
                if value is None:
                    self._environ.pop(name, None)
                else:
                    self._environ[name] = value
