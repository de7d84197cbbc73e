"""Logs are bounded, on disk and in what is read of them, and every byte that stays is where it was."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, service

from harness import artifacts, clock
from harness.keeper import logs as keeper_logs
from harness.keeper.logs import HEAD, LIMIT, STEP, LogBounds
from harness.readiness import Target, start_probe
from harness.runs import running
from harness.stack import Probe
from harness.verbs import up_down
from harness.verbs.logs import logs

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LOUD = 150  # MiB
HOLE_END = 43057152


def on_disk(log: Path) -> int:
    """Return the bytes of a file on disk."""
    return log.stat().st_blocks * 512


def wait_until_bounded(log: Path) -> int:
    """Wait until a log is bounded; return the bytes of it on disk."""
    for _ in clock.poll(clock.Deadline.after(20)):
        if on_disk(log) <= LIMIT:
            break
    return on_disk(log)


def lines(first: int, last: int) -> bytes:
    """Return lines as the actor's ``loud`` writes them."""
    return b"".join(b"%0127d\n" % number for number in range(first, last))


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """A log of 100 MiB with a hole in it."""
    log = tmp_path / "services" / "holed.log"
    log.parent.mkdir()
    log.write_bytes(lines(0, 100 << 13))
    for _ in LogBounds(log.parent, pytest.fail).look():
        pass
    return log


def test_a_log_keeps_its_beginning_and_its_end_and_all_offsets(project: Project) -> None:
    """What a service writes beyond the limit must leave the disk while it runs, from the middle, and move nothing."""
    project.stack("s", {"writer": service(f"loud:{LOUD}", "say:last", "wait", ready=[{"log": "^last$"}])})
    run = project.run()
    with running(run):
        one = run.bring("s").service("writer")
        assert wait_until_bounded(one.log) <= LIMIT
        assert one.log.stat().st_size == LOUD * MIB + len("last\n")
        assert artifacts.read_slice(one.log, 0, HEAD) == lines(0, 8192)
        end = (LIMIT - HEAD - STEP) >> 7 << 7
        numbers = (LOUD << 13) - (end >> 7), LOUD << 13
        assert artifacts.read_slice(one.log, LOUD * MIB - end) == lines(*numbers) + b"last\n"
        assert b"\n... harness: bytes 1048576 to " in artifacts.read_slice(one.log, HEAD, HEAD + 100)
        assert one.logs(LOUD * MIB - 128) == (lines(numbers[1] - 1, numbers[1]) + b"last\n").decode()


def test_logs_shows_a_hole_as_a_line(project: Project) -> None:
    """The task ``logs`` must show what a log has, and of what is left out a line."""
    project.stack("s", {"writer": service(f"loud:{LOUD}", "say:last", "wait", ready=[{"log": "^last$"}])})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    try:
        wait_until_bounded(project.latest / "services" / "writer.log")
        shown = list(logs(settings, "writer"))
    finally:
        up_down.down(settings, project.said.append)
    assert not [line for line in shown if "\\x00" in line]
    assert len([line for line in shown if line.startswith("... harness: bytes ")]) == 1
    assert (shown[0], shown[-1]) == (f"{0:0127d}", "last")


def test_the_end_of_an_environment_leaves_logs_bounded(project: Project) -> None:
    """What a service writes in its last moment must be bounded as well when its run is over."""
    loud = service(f"loud:{LOUD}", "exit:0", role="oneshot")
    project.stack("s", {"writer": loud})
    run = project.run()
    with running(run):
        log = run.bring("s").service("writer").log
    assert log.stat().st_size == LOUD * MIB
    assert on_disk(log) <= LIMIT


def test_a_log_that_a_service_writes_itself_is_bounded(project: Project) -> None:
    """The declared log file of a service must be bounded like what it prints."""
    write = "import sys; open(sys.argv[1], 'wb').write(bytes(100 << 20)); print('up', flush=True); sys.stdin.read()"
    own = service(
        embedded={"command": ["python", "-c", write, "{log}"]}, log_file="/var/log/own.log", ready=[{"log": "up"}]
    )
    project.stack("s", {"own": own})
    run = project.run()
    with running(run):
        run.bring("s")
        assert wait_until_bounded(project.latest / "services" / "own@s.file.log") <= LIMIT


def test_only_files_of_the_folder_are_touched(tmp_path: Path) -> None:
    """What is linked into the folder, in whatever way, and what is no log, must stay whole."""
    folder, elsewhere = tmp_path / "services", tmp_path / "elsewhere.log"
    folder.mkdir()
    elsewhere.write_bytes(bytes(100 * MIB))
    (folder / "soft.log").symlink_to(elsewhere)
    (folder / "hard.log").hardlink_to(elsewhere)
    (folder / "data.bin").write_bytes(bytes(100 * MIB))
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path)
    assert list(LogBounds(folder, pytest.fail).look()) == []
    assert list(LogBounds(linked, pytest.fail).look()) == []
    # At least: a file system may count its own tables of the file, and later others than at first.
    assert min(on_disk(elsewhere), on_disk(folder / "data.bin")) >= 100 * MIB


def test_a_filesystem_without_holes_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no hole can be made, one line must say so, and logs must stay as they are."""

    def refuse(*_: int) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(keeper_logs, "_fallocate", refuse)  # no such filesystem can be counted on
    (tmp_path / "one.log").write_bytes(bytes(70 * MIB))
    said: list[str] = []
    bounds = LogBounds(tmp_path, said.append)
    assert [list(bounds.look()) for _ in range(2)] == [[], []]
    assert said == ["log one.log grows without a bound: no hole can be made in it: Operation not supported"]
    assert (tmp_path / "one.log").read_bytes() == bytes(70 * MIB)


def test_a_slice_of_much_is_its_first_and_its_last_part(tmp_path: Path) -> None:
    """A large slice must be bounded, and say how many bytes are left out; a small one must be as it was written."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(0, 20 << 13))
    left_out = b"\n... harness: %d bytes left out ...\n"
    expected = lines(1, 8193) + left_out % (12 * MIB - 128) + lines(13 << 13, 20 << 13)
    assert artifacts.read_log(log, 128) == expected
    assert artifacts.read_log(log, 12 * MIB) == lines(12 << 13, 20 << 13)
    odd = bytes([0, 1, 255, 0, 0])
    log.write_bytes(odd)
    assert artifacts.read_log(log) == odd
    assert artifacts.read_log(log, 2, 4) == odd[2:4]
    assert artifacts.read_log(log, 9) == artifacts.read_log(tmp_path / "none") == b""


@pytest.mark.parametrize(
    ("start", "begins"),
    [
        (0, lines(0, 8192) + b"\n... harness: "),
        (
            HEAD - 128,
            lines(8191, 8192) + b"\n... harness: bytes 1048576 to 43057152 of this log are left out here ...\n",
        ),
        (HEAD + 200, b"\n... harness: "),
        (20 * MIB, b"\n... harness: 22085632 bytes left out ...\n" + lines((41 << 13) + 512, 42 << 13)),
    ],
    ids=["before", "into it", "in its first block", "in it"],
)
def test_a_slice_has_no_zeros_of_a_hole(holed: Path, start: int, begins: bytes) -> None:
    """Wherever a slice begins, a hole must be a line that tells of it, and nothing else."""
    found = artifacts.read_log(holed, start)
    assert found.startswith(begins)
    assert b"\0" not in found
    assert found.endswith(lines(93 << 13, 100 << 13))


@pytest.mark.parametrize("part", [1000, 4096, 300_000], ids=str)
def test_reading_on_has_no_zeros_of_a_hole(holed: Path, part: int) -> None:
    """Whatever the parts are in which a log is read, all that it has must come once, without a hole's zeros."""
    at, parts = HEAD - 2 * part, []
    while at < 45 * MIB:
        data, at = artifacts.read_on(holed, at, part)
        parts.append(data)
    found = b"".join(parts)
    marker = b"\n... harness: bytes 1048576 to 43057152 of this log are left out here ...\n"
    before, _, after = found.partition(marker)
    assert before == artifacts.read_slice(holed, HEAD - 2 * part, HEAD)
    assert after == artifacts.read_slice(holed, HOLE_END, at)


@pytest.fixture
def log_probe(tmp_path: Path) -> Callable[[str], tuple[Target, Callable[[], str]]]:
    """Return what makes a probe for a line in a log: (its service, what asks it)."""

    def make(pattern: str) -> tuple[Target, Callable[[], str]]:
        target = Target("a", "s", {}, log=tmp_path / "a.log")
        return target, start_probe(Probe.model_validate({"log": pattern}), 0, target).ask

    return make


def test_a_log_probe_finds_a_line_before_much_else(
    log_probe: Callable[[str], tuple[Target, Callable[[], str]]],
) -> None:
    """A line must be found however much came after it before the probe looked."""
    target, ask = log_probe("^ready$")
    target.log.write_bytes(b"ready\n" + lines(0, 5 << 13))
    assert ask() == ""


def test_a_log_probe_finds_a_line_that_comes_in_pieces(
    log_probe: Callable[[str], tuple[Target, Callable[[], str]]],
) -> None:
    """A line must be found when its end is written later, a match must not begin amid a line, nor before this life."""
    target, ask = log_probe("^rea.y$")
    before = b"ready\n"
    target.log.write_bytes(before + lines(0, 2 << 13) + b"already\nrea")
    target.log_start = len(before)
    assert ask() == ask() == "no line matches '^rea.y$' yet"
    with target.log.open("ab") as file:
        file.write(b"dy\n")
    assert ask() == ""


def test_a_log_probe_finds_a_line_behind_a_hole(
    holed: Path, log_probe: Callable[[str], tuple[Target, Callable[[], str]]]
) -> None:
    """A hole before a line must not keep a probe from it, nor be looked through as zeros."""
    target, ask = log_probe("^ready$")
    target.log = holed
    with holed.open("ab") as file:
        file.write(b"ready\n")
    seen = [clock.now()]
    for _ in clock.poll(clock.Deadline.after(20)):
        if not ask():
            break
        seen.append(clock.now())
    assert ask() == ""
    assert len(seen) <= 5  # 60 MiB, sixteen at a time


def test_the_evidence_of_a_loud_service_is_bounded(project: Project) -> None:
    """A failed test must get the first and the last part of what a service wrote while it ran, and say what is not."""
    stack = service("say:up", "after:0.5:loud:20", "wait", ready=[{"log": "up"}])
    project.stack("s", {"writer": stack})
    (project.root / "conftest.py").write_text("import harness\none = harness.stack_fixture('s')\n")
    (project.root / "test_it.py").write_text(
        "from harness.clock import Deadline, poll\n"
        "def test_bad(one):\n"
        "    for _ in poll(Deadline.after(20)):\n"
        "        if one.service('writer').log.stat().st_size == 3 + (20 << 20):\n"
        "            break\n"
        "    assert 1 == 2\n"
    )
    done = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert done.code == 1, done.stdout
    found = (project.latest / "failures" / "test_it.py.test_bad" / "writer.log").read_bytes()
    assert 8 * MIB < len(found) < 8 * MIB + 100
    assert b"\n... harness: 125829" in found
    assert found.endswith(lines((20 << 13) - 1, 20 << 13))
    assert f"{(20 << 13) - 1:0127d}" in done.stdout
    assert len(done.stdout) < MIB
