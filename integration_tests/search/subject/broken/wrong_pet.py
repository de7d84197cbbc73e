"""Gives every owner a pet of Alice's in place of their first one."""

import sys

from petsearch.__main__ import main
from petsearch.store import Page, Store

_pets = Store.pets


def _wrong(self: Store, owner: str, page: int, size: int) -> Page:
    found = _pets(self, owner, page, size)
    other = _pets(self, "Alice", 1, 1).pets
    return Page(found.total, other + found.pets[1:] if found.pets else [])


Store.pets = _wrong  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
