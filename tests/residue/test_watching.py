"""Tests of `harness.residue.watching`."""

from __future__ import annotations

from harness.residue.watching import Left, difference


def test_what_was_added_changed_and_removed_is_told_in_the_order_of_names() -> None:
    before = {"a": "1 row", "b": "2 rows", "c": ""}
    after = {"z": "", "b": "3 rows", "a": "1 row", "d": "new"}
    assert difference("sql tables", before, after) == (
        Left("sql tables", "b", "3 rows", "changed"),
        Left("sql tables", "d", "new"),
        Left("sql tables", "z"),
        Left("sql tables", "c", change="removed"),
    )


def test_equal_looks_differ_in_nothing() -> None:
    assert difference("threads", {"a": ""}, {"a": ""}) == ()


def test_a_thing_is_one_line_for_people() -> None:
    assert str(Left("threads", "poller")) == "threads: poller"
    assert str(Left("files", "out/a.txt", "3 bytes", "changed")) == "files: out/a.txt (changed): 3 bytes"
