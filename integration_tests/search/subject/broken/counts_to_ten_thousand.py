"""Says how many pets there are of all as far as the engine counts unless it is asked to."""

import sys

from petsearch.__main__ import main
from petsearch.store import WINDOW, Page, Store

_pets = Store.pets


def _fewer(self: Store, owner: str, page: int, size: int) -> Page:
    found = _pets(self, owner, page, size)
    return Page(min(found.total, WINDOW), found.pets)


Store.pets = _fewer  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
