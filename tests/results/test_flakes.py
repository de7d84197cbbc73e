"""The ledger of flakes: rates, the file, and what becomes of a damaged one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT

from harness import procs
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.results.flakes import LARGEST, Ledger, Result, Seen, bounded, rates, read, record, results_of, wilson

if TYPE_CHECKING:
    from harness.results import Status
    from harness.results.flakes import How

A, B = "tests/test_a.py::test_a", "tests/test_a.py::test_b"


@pytest.mark.parametrize(
    ("bad", "tries", "low", "high"),
    [  # the roots of its own equation: |bad/tries - p| is 1.96 times the standard error that p would have
        (0, 10, 0.0, 0.2775327998628892),
        (1, 10, 0.01787621309507, 0.4041500267952),
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672001371108, 1.0),
        (1, 1, 0.20654931, 1.0),
        (15, 50, 0.1910355350088, 0.4375035046445),
        (1, 1000, 0.0001765546, 0.0056425),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(bad: int, tries: int, low: float, high: float) -> None:
    """The interval of a rate must be the Wilson score interval of 95 %."""
    assert wilson(bad, tries) == pytest.approx((low, high), abs=2e-7)


def ledger(**ends: str) -> Ledger:
    """Return a ledger of tests, with p, f, l (flaky) and b for each time that one ran."""
    hows: dict[str, How] = {"p": "passed", "f": "failed", "l": "flaky", "b": "broken"}
    return {
        test: {"s": [Seen(1000 + at, hows[how], "run") for at, how in enumerate(how)]} for test, how in ends.items()
    }


def test_tests_are_ordered_by_rate() -> None:
    """The highest rate must come first, of equal ones the one that is surer, then names; one that never failed not."""
    shown = rates(ledger(good="pppp", sure="ffll", c="pfpp", b="pppl", once="f", a="plpp"))
    assert [(rate.test, rate.rate) for rate in shown] == [
        ("sure", 1.0), ("once", 1.0), ("a", 0.25), ("b", 0.25), ("c", 0.25),
    ]  # fmt: skip
    assert [rate.test for rate in rates(ledger(good="pp", bad="f"), every=True)] == ["bad", "good"]


def test_what_a_stack_broke_says_nothing_of_a_test() -> None:
    """Broken ends must be counted, but be no part of a rate."""
    (rate,) = rates(ledger(a="pfbb"))
    assert (rate.rate, rate.tries, rate.counts["broken"], rate.last) == (0.5, 2, 2, 1003)
    assert rates(ledger(a="pb")) == []


def test_only_what_is_new_counts_when_asked() -> None:
    """Ends of before a moment must not count."""
    (rate,) = rates(ledger(a="fffpf"), since=1003)
    assert (rate.bad, rate.tries) == (1, 2)


def test_skipped_tests_and_those_known_to_fail_are_no_results() -> None:
    """Of statuses only those that tell something of a test must be kept, and a failure in quarantine is one."""
    statuses: tuple[Status, ...] = ("succeeded", "failed", "broken", "skipped", "xfailed", "flaky", "quarantined")
    hows = [result.how for result in results_of((A, status, "s") for status in statuses)]
    assert hows == ["passed", "failed", "broken", "flaky", "failed"]


def test_sessions_add_up(tmp_path: Path) -> None:
    """What two sessions add must both be there, by test and by stacks, and a flake be new once."""
    path = tmp_path / "deep" / "flakes.json"
    first = record(path, [Result(A, "x", "flaky"), Result(B, "", "passed")], run="1", checkout="/c", when=10)
    assert first == (frozenset({A}), "")
    assert record(path, [Result(A, "y", "flaky")], run="2", checkout="/c", when=20) == (frozenset(), "")
    assert read(path) == {
        A: {"x": [Seen(10, "flaky", "1")], "y": [Seen(20, "flaky", "2")]},
        B: {"": [Seen(10, "passed", "1")]},
    }
    assert json.loads(path.read_text())["checkout"] == "/c"
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


def test_a_ledger_is_bounded() -> None:
    """Of a test on a stack only the newest ends must stay, and in all no more than the newest sessions."""
    assert [one.time for one in bounded(ledger(a="p" * 10), most_each=3)["a"]["s"]] == [1007, 1008, 1009]
    old: Ledger = {
        "old": {"s": [Seen(1, "passed", "1")]},
        "new": {"s": [Seen(2, "passed", "2"), Seen(3, "failed", "3")]},
    }
    assert bounded(old, most=2) == {"new": old["new"]}
    same: Ledger = {name: {"s": [Seen(5, "passed", "5")]} for name in "abc"}
    assert bounded({**old, **same}, most=2) == same  # a session is not cut in two


DAMAGED = {
    "no JSON": b"{",
    "empty": b"",
    "binary": bytes(range(256)),
    "a list": b"[]",
    "another schema": b'{"schema": 2, "tests": {}}',
    "no tests": b'{"schema": 1}',
    "tests of another kind": b'{"schema": 1, "tests": {"a": []}}',
    "an outcome of another kind": b'{"schema": 1, "tests": {"a": {"s": [[1, "fine", "r"]]}}}',
    "a time of another kind": b'{"schema": 1, "tests": {"a": {"s": [["1", "passed", "r"]]}}}',
    "half an outcome": b'{"schema": 1, "tests": {"a": {"s": [[1]]}}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_ledger_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    """What cannot be read must be kept as it is beside a new ledger, and be told; who only looks changes nothing."""
    path = tmp_path / "flakes.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read(path)
    assert "keeps it aside" in caught.value.hint
    assert path.read_bytes() == content
    new, told = record(path, [Result(A, "s", "passed")], run="r", checkout="/c", when=77)
    assert (new, "it is kept as flakes.json.damaged-77, a new one was begun" in told) == (frozenset(), True)
    assert (tmp_path / "flakes.json.damaged-77").read_bytes() == content
    assert read(path) == {A: {"s": [Seen(77, "passed", "r")]}}
    assert record(path, [Result(A, "s", "passed")], run="r", checkout="/c")[1] == ""


def test_a_link_or_something_too_large_in_its_place_is_kept_aside(tmp_path: Path) -> None:
    """A link must not be followed, nor more be read than a ledger can be."""
    path, victim = tmp_path / "flakes.json", tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    assert "it is a symbolic link" in record(path, [], run="r", checkout="/c", when=1)[1]
    assert victim.read_text() == "mine"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert "larger than" in record(path, [], run="r", checkout="/c", when=2)[1]


def test_a_ledger_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A folder that cannot be made must be an error of ours, whatever its kind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match=r"flakes\.json cannot be written"):
        record(tmp_path / "file" / "flakes.json", [Result(A, "s", "passed")], run="r", checkout="/c")


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    """Where there is no room that must be told, and what is known stay known, without half a file beside it."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(tmp_path)]
    if os.geteuid() or procs.run(mount, timeout=60).code:
        pytest.skip("only root can mount a small filesystem")
    try:
        path = tmp_path / "flakes.json"
        record(path, [Result(A, "s", "failed")], run="r", checkout="/c")
        before = path.read_bytes()
        with contextlib.suppress(OSError), (tmp_path / "filling").open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
        with pytest.raises(BrokenStack, match="No space left"):
            record(path, [Result(B, "s", "failed")], run="r", checkout="/c")
        assert path.read_bytes() == before
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["filling", "flakes.json", "flakes.json.lock"]
    finally:
        procs.run(["umount", "--lazy", str(tmp_path)], timeout=60)


def test_two_sessions_at_once_lose_nothing(tmp_path: Path) -> None:
    """Several processes that add to a ledger at the same time must all be in it."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom harness.results.flakes import Result, record\n"
        "for at in range(10):\n    name = f'{sys.argv[2]}-{at}'\n"
        "    record(Path(sys.argv[1]), [Result('t', 's', 'passed')], run=name, checkout='/c')\n"
    )
    path = tmp_path / "flakes.json"
    running = [
        procs.Popen([sys.executable, "-c", script, str(path), str(number)], cwd=ROOT, stdin=procs.DEVNULL)
        for number in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert {one.run for one in read(path)["t"]["s"]} == {f"{number}-{at}" for number in range(4) for at in range(10)}
