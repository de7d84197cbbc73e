"""Cells that are removed while others run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from harness.errors import BrokenStack
from harness.runs.interop.behind import Behind

if TYPE_CHECKING:
    from harness.matrix.site import Site

BUDGET = 20.0


class Slow:
    """A place that is removed when it may be."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may, self.begun, self.is_gone = threading.Event(), threading.Event(), False
        self._error = error

    def remove(self) -> tuple[str, ...]:
        """Wait, and be gone."""
        self.begun.set()
        assert self.may.wait(BUDGET)
        if self._error:
            raise self._error
        self.is_gone = True
        return ("a file",)

    def free(self) -> Site:
        """Return it, free to be removed."""
        self.may.set()
        return cast("Site", self)


def site(slow: Slow) -> Site:
    """Return a place as what it stands for."""
    return cast("Site", slow)


def test_nobody_waits_for_so_many_removals_and_one_waits_for_its_own_beyond_that() -> None:
    """Two places must be removed while their callers go on; a third caller must be told what is left of its own."""
    behind, places = Behind(2), [Slow(), Slow()]
    assert [behind.remove(site(place)) for place in places] == [(), ()]
    assert all(place.begun.wait(BUDGET) for place in places)
    third = Slow()
    assert behind.remove(third.free()) == ("a file",)
    assert (third.is_gone, [place.is_gone for place in places]) == (True, [False, False])
    for place in places:
        place.may.set()
    behind.wait(BUDGET)
    assert all(place.is_gone for place in places)
    assert behind.remove(Slow().free()) == ()  # there is room again


def test_one_that_cannot_be_removed_makes_room_all_the_same() -> None:
    """An error must end nothing but its own removal."""
    behind = Behind(1)
    assert behind.remove(Slow(BrokenStack("network n is in use")).free()) == ()
    behind.wait(BUDGET)
    last = Slow()
    assert behind.remove(site(last)) == ()
    last.may.set()
    behind.wait(BUDGET)
    assert last.is_gone


def test_where_it_is_quick_everybody_waits() -> None:
    """With none at a time what is left must be told at once, and an error raised."""
    assert Behind(0).remove(Slow().free()) == ("a file",)
    with pytest.raises(BrokenStack):
        Behind(0).remove(Slow(BrokenStack("no")).free())
