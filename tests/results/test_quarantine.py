"""The file of tests in quarantine: what it may say, and what it means on a day."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigError
from harness.results.quarantine import Entry, Quarantine, read_quarantine, today

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2026, 11, 30)
GOOD = 'test = "a.py::t"\nowner = "anna"\nreason = "#12"\nexpires = 2026-12-30\n'


def entries(tmp_path: Path, *tables: str) -> Quarantine:
    """Return what a file of these tables has on the day."""
    path = tmp_path / "quarantine.toml"
    path.write_text("".join(f"[[quarantine]]\n{table}\n" for table in tables))
    return read_quarantine(path, DAY)


@pytest.mark.parametrize("written", ["2026-12-30", '"2026-12-30"', "2026-11-30", "2020-01-01"])
def test_an_entry_is_read(tmp_path: Path, written: str) -> None:
    """A date may be TOML's or a text, up to 30 days ahead."""
    (entry,) = entries(tmp_path, GOOD.replace("2026-12-30", written)).entries
    assert (entry.test, entry.owner, entry.reason) == ("a.py::t", "anna", "#12")
    assert entry.expires.isoformat() == written.strip('"')


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (GOOD.replace('owner = "anna"\n', ""), "entry 1 of quarantine (a.py::t) has no owner"),
        (GOOD.replace('"anna"', '"  "'), "has no owner"),
        (GOOD.replace('reason = "#12"\n', ""), "has no reason"),
        (GOOD.replace('"#12"', '""'), "has no reason"),
        (GOOD.replace('test = "a.py::t"\n', ""), "entry 1 of quarantine has no test"),
        (GOOD.replace('"#12"', "12"), "has reason 12, a text was needed"),
        (GOOD.replace("expires = 2026-12-30\n", ""), "has no expires"),
        (GOOD.replace("2026-12-30", "2026-12-31"), "expires 2026-12-31, more than 30 days ahead; 2026-12-30 is the"),
        (GOOD.replace("2026-12-30", '"2026-02-30"'), "has expires '2026-02-30', which is no date, such as 2026-11-30"),
        (GOOD.replace("2026-12-30", '"soon"'), "has expires 'soon', which is no date"),
        (GOOD.replace("2026-12-30", '"20261230"'), "which is no date"),
        (GOOD.replace("2026-12-30", "20"), "has expires '20', which is no date"),
        (GOOD.replace("2026-12-30", "2026-12-30T10:00:00"), "which is no date"),
        (GOOD + 'ownr = "x"\n', "has key 'ownr', which is not known; did you mean 'owner'?"),
    ],
)
def test_a_wrong_entry_is_told(tmp_path: Path, table: str, says: str) -> None:
    """What is wrong with an entry must be said, with the file and the entry."""
    with pytest.raises(ConfigError) as caught:
        entries(tmp_path, table)
    assert says in caught.value.summary
    assert str(tmp_path / "quarantine.toml") in caught.value.summary


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[[quarantine]", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[quarantine]\ntest = 'a'\n", "quarantine is dict, tables [[quarantine]] were needed"),
        (b"quarantine = [1]\n", "is int 1, a table was needed"),
        (b"[[quarantined]]\n", "key 'quarantined' is not known; did you mean 'quarantine'?"),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    """A file that is no quarantine must be refused with its path."""
    path = tmp_path / "q.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_quarantine(path, DAY)
    assert says in caught.value.summary
    assert str(path) in caught.value.summary


def test_all_wrong_entries_are_told_together(tmp_path: Path) -> None:
    """Each problem must be in the one error."""
    with pytest.raises(ConfigError) as caught:
        entries(tmp_path, GOOD.replace('"anna"', '""'), GOOD, GOOD.replace('"#12"', '""').replace("2026", "2027"))
    assert len(caught.value.problems) == 3


def test_a_file_that_is_not_there_is_none_unless_it_was_named(tmp_path: Path) -> None:
    """Without a file nothing must be in quarantine; one that the settings name must be there."""
    assert read_quarantine(tmp_path / "q.toml", DAY).entries == ()
    with pytest.raises(ConfigError, match="does not exist"):
        read_quarantine(tmp_path / "q.toml", DAY, needed=True)


def entry(test: str, expires: date = DAY) -> Entry:
    """Return an entry of a test."""
    return Entry(test, "anna", "why", expires)


def test_an_entry_holds_to_the_end_of_its_last_day() -> None:
    """On its last day an entry must hold, on the next one it must have lapsed."""
    held = entry("a.py::t")
    assert Quarantine((held,), DAY).holds("a.py::t") == held
    after = Quarantine((held,), date(2026, 12, 1))
    assert (after.holds("a.py::t"), after.of("a.py::t"), after.lapsed) == (None, held, (held,))


def test_of_two_entries_of_a_test_the_one_that_holds_counts() -> None:
    """A lapsed entry must not hide one that holds."""
    old, new = entry("a.py::*", date(2026, 1, 1)), entry("a.py::t")
    assert Quarantine((old, new), DAY).holds("a.py::t") == new


@pytest.mark.parametrize(
    ("pattern", "test", "means"),
    [
        ("a.py::t", "a.py::t", True),
        ("a.py::t", "a.py::t[1]", True),
        ("a.py::t[1]", "a.py::t[1]", True),
        ("a.py::t[1]", "a.py::t[2]", False),
        ("a.py::*", "a.py::T::t", True),
        ("*/a.py::t", "b/a.py::t", True),
        ("a.py::t", "a.py::tt", False),
    ],
)
def test_an_entry_is_a_node_id_or_a_pattern(pattern: str, test: str, means: bool) -> None:
    """A pattern must mean what a pattern of declared differences means."""
    assert entry(pattern).means(test) is means


@pytest.mark.parametrize(
    ("pattern", "scopes", "told"),
    [
        ("s/a.py::gone", ["s"], True),
        ("s/a.py::gone", ["s/a.py"], True),
        ("s/a.py::gone", [""], True),
        ("s/a.py::gone", ["r"], False),  # was not collected
        ("s/a.py::gone", [], False),  # nothing was collected whole
        ("s/a.py::t", ["s"], False),  # is there
        ("s/gone_*.py::t", ["s"], True),
        ("*/gone.py::t", ["s"], False),  # may be elsewhere
        ("*/gone.py::t", [""], True),
        ("sub/a.py::t", ["s"], False),
    ],
)
def test_an_entry_that_means_nothing_is_found_where_all_was_collected(
    pattern: str, scopes: list[str], told: bool
) -> None:
    """Only of entries whose every file was collected whole may it be said that they mean nothing."""
    held = entry(pattern)
    assert bool(Quarantine((held,), DAY).unmatched(["s/a.py::t"], scopes)) is told


def test_today_can_be_set() -> None:
    """The date of today must be the variable's, where there is one."""
    assert today({"HARNESS_TODAY": "2026-11-30"}) == DAY
    assert abs((today({}) - date.today()).days) <= 1  # noqa: DTZ011 - whichever zone
    with pytest.raises(ConfigError, match="HARNESS_TODAY 'x' is no date"):
        today({"HARNESS_TODAY": "x"})
