"""A cell with real processes: whatever they do, it ends, is judged and leaves its evidence."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_site import SmallSites

from harness import clock
from harness.errors import BrokenStack, HarnessError
from harness.matrix.cases import Case, Role
from harness.matrix.cells import Cell
from harness.matrix.events import Event
from harness.matrix.judging import judge
from harness.matrix.site import Part
from harness.matrix.verdicts import Result
from harness.runs.interop.cell import Around, run_cell
from harness.runs.interop.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Callable

READY = 'print(\'{"ty":"ready"}\', flush=True)\n'
DONE = 'print(\'{"ty":"done"}\', flush=True)\n'
WAIT = "import sys\nfor line in sys.stdin: pass\n"
GOOD_WORKER, GOOD_DRIVER = READY + WAIT, READY + DONE
CELL = Cell("t/w/d", "t", "w", "d", timeout=20.0, digest="abc")


def events_of(folder: Path) -> list[Event]:
    return [Event.from_dict(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]


def part(role: str, code: str) -> Part:
    return Part(role, "w" if role == "worker" else "d", (sys.executable, "-c", code))


class Ran:
    """What became of a cell, and what it left."""

    def __init__(self, result: Result | None, sites: SmallSites, folder: Path, case: Case, cell: Cell) -> None:
        self.sites, self.folder = sites, folder
        assert result
        self.result = result
        self.events = events_of(folder)
        self.types = [event.ty for event in self.events if event.ty != "log"]
        # What is stored tells the same as what was lived through.
        assert judge(case, cell, self.events) == result.verdict
        assert json.loads((folder / "verdict.json").read_text()) == json.loads(json.dumps(result.as_dict()))
        assert Result.from_dict(json.loads((folder / "verdict.json").read_text())) == result

    def deciding(self) -> Event:
        assert self.result.verdict.event is not None
        return self.events[self.result.verdict.event]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    def run(
        worker: str = GOOD_WORKER,
        driver: str = GOOD_DRIVER,
        *,
        extras: dict[str, str] | None = None,
        cell: Cell = CELL,
        sites: SmallSites | None = None,
        probe: Callable[[str, str], bool] = lambda *_: False,
    ) -> Ran:
        sites = sites or SmallSites()
        codes = {**(extras or {}), "worker": worker, "driver": driver}
        case = Case("t", roles=tuple(Role(name) for name in codes), timeout=cell.timeout)
        parts = [part(role, code) for role, code in codes.items()]
        folder = tmp_path / "cell"
        result = run_cell(cell, case, parts, folder, Around(sites, probe, threading.Event()))
        return Ran(result, sites, folder, case, cell)

    return run


def test_a_cell_succeeds_when_the_driver_is_done_and_exits(run: Callable[..., Ran]) -> None:
    """The worker is then ended, and the log begins with who took part and ends with how it went."""
    ran = run()
    assert ran.result.verdict.status == "succeeded", ran.result.verdict
    assert ran.types == ["exec", "ready", "ready", "done", "exited", "runner.ended", "exited", "status"]
    assert ran.events[0].info == {"worker": "w", "driver": "d"}
    assert ran.events[-1].info == {"success": True, "verdict": "succeeded"}
    assert ran.deciding().ty == "exited"
    assert ran.result.cpu == 0.25
    assert set(ran.result.spans) >= {"create", "ready", "run", "end", "collect", "remove"}
    assert ran.result.seconds == pytest.approx(sum(ran.result.spans.values()), abs=0.05)
    assert ran.result.exits["driver"] == 0


def test_roles_are_started_one_after_another_and_told_of_each_other(run: Callable[..., Ran]) -> None:
    """Extra roles come first in declared order, then worker, then driver; who comes later is told who is ready."""
    ran = run(extras={"relay": GOOD_WORKER, "store": GOOD_WORKER})
    site = ran.sites.made[0]
    assert site.did[:5] == ["create", "start relay", "start store", "start worker", "start driver"]
    told = {role: [json.loads(line) for line in lines.splitlines()] for role, lines in site.told.items()}
    assert [(line["ty"], line["ro"]) for line in told["driver"]] == [
        ("ready", "relay"),
        ("ready", "store"),
        ("ready", "worker"),
    ]
    assert [(line["ty"], line["ro"]) for line in told["relay"]] == [
        ("ready", "store"),
        ("ready", "worker"),
        ("ready", "driver"),
        ("done", "driver"),
    ]
    assert set(told["driver"][0]) == {"ty", "ro", "id", "ti", "in"}


def test_a_role_reads_what_its_peers_say(run: Callable[..., Ran]) -> None:
    """A driver that goes on only when standard input tells of the worker gets there."""
    driver = READY + "import json, sys\nassert json.loads(sys.stdin.readline())['ro'] == 'worker'\n" + DONE
    assert run(driver=driver).result.verdict.status == "succeeded"


def test_a_driver_whose_last_line_has_no_end_is_done(run: Callable[..., Ran]) -> None:
    """What was written is what was said, before it exited."""
    ran = run(driver=READY + "print('{\"ty\":\"done\"}', end='', flush=True)\n")
    assert ran.result.verdict.status == "succeeded"
    assert ran.types[3:5] == ["done", "exited"]


WRONG: dict[str, tuple[dict[str, str], str, str, str]] = {
    "driver exits 3": ({"driver": READY + "raise SystemExit(3)"}, "failed", "driver", "driver (d) exited with 3"),
    "driver without done": (
        {"driver": READY},
        "failed",
        "driver",
        "driver (d) exited with 0 without being done",
    ),
    "worker not ready": (
        {"worker": "pass"},
        "failed",
        "worker",
        "worker (w) exited with 0 before it was ready",
    ),
    "worker killed": (
        {"worker": READY + "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "driver": READY + WAIT},
        "crashed",
        "worker",
        "worker (w) was ended by SIGSEGV (exit code 139)",
    ),
    "worker gone": (
        {"worker": READY, "driver": READY + WAIT},
        "failed",
        "worker",
        "worker (w) exited with 0 before the driver was done",
    ),
    "127 after ready": (
        {"worker": READY + "raise SystemExit(127)", "driver": READY + WAIT},
        "failed",
        "worker",
        "worker (w) exited with 127",
    ),
    "malformed": (
        {"worker": READY + 'print(\'{"ty": "rea\', flush=True)\n' + WAIT, "driver": READY + WAIT},
        "failed",
        "worker",
        "worker (w) wrote a malformed line: no JSON: Unterminated string starting at at character 8",
    ),
    "second ready": (
        {"worker": READY + READY + WAIT, "driver": READY + WAIT},
        "failed",
        "worker",
        "worker (w) wrote a malformed line: a second ready",
    ),
    "done before ready": (
        {"driver": DONE + READY},
        "failed",
        "driver",
        "driver (d) was done before it was ready",
    ),
    "runner's event": (
        {"driver": READY + 'print(\'{"ty":"status","in":{"success":true}}\')\n' + DONE},
        "failed",
        "driver",
        'driver (d) wrote a malformed line: ty is "status", which only the runner sends',
    ),
    "assertion": (
        {
            "worker": 'print(\'{"ty":"assert","in":{"assert_id":1,"value":"a"}}\')\n' + GOOD_WORKER,
            "driver": 'print(\'{"ty":"assert","in":{"assert_id":1,"value":"b"}}\')\n' + READY + WAIT,
        },
        "failed",
        "driver",
        "driver (d) does not agree on assertion 1: worker has 'a', driver has 'b'",
    ),
    "check": (
        {
            "driver": READY
            + 'print(\'{"ty":"check","in":{"check_id":"order","ok":false,"why":"3 before 2"}}\')\n'
            + DONE
        },
        "failed",
        "driver",
        "driver (d) checked 'order': 3 before 2",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_role_does_wrong_is_its_own_fault(run: Callable[..., Ran], name: str) -> None:
    """Each way to misbehave has its verdict, its role, a sentence, and the event that decided it."""
    codes, status, role, reason = WRONG[name]
    started = clock.now()
    ran = run(**codes)
    verdict = ran.result.verdict
    assert (verdict.status, verdict.role, verdict.reason) == (status, role, reason)
    assert (verdict.blame, verdict.implementation) == ("role", "w" if role == "worker" else "d")
    assert ran.deciding().ro == role
    assert ran.events[-1].info["success"] is False
    assert clock.now() - started < 10


def test_a_late_disagreement_takes_success_away(run: Callable[..., Ran]) -> None:
    """A role that disagrees when it is asked to end has disagreed."""
    say = 'print(\'{"ty":"assert","in":{"assert_id":"n","value":%s}}\', flush=True)\n'
    worker = (
        "import signal, sys\n"
        f"def end(*_):\n    {say % 2}    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n" + GOOD_WORKER + "signal.pause()\n"
    )
    ran = run(worker=worker, driver=READY + say % 1 + DONE)
    assert ran.result.verdict.reason == "worker (w) does not agree on assertion 'n': driver has 1, worker has 2"


@pytest.mark.parametrize(
    ("codes", "role", "reason"),
    [
        ({"worker": WAIT}, "worker", "worker (w) was not ready after 1 s"),
        ({"driver": WAIT}, "driver", "driver (d) was not ready after 1 s"),
        ({"driver": READY + WAIT}, "driver", "driver (d) was not done after 1 s"),
        ({"driver": READY + DONE + WAIT}, "driver", "driver (d) was done and did not exit after 1 s"),
    ],
)
def test_who_is_waited_for_when_time_is_over_is_to_blame(
    run: Callable[..., Ran], codes: dict[str, str], role: str, reason: str
) -> None:
    """A time-out says what did not come, and of whom."""
    ran = run(**codes, cell=Cell("t/w/d", "t", "w", "d", timeout=1.0))
    assert (ran.result.verdict.status, ran.result.verdict.role) == ("timeout", role)
    assert ran.result.verdict.reason == reason
    assert ran.result.seconds < 4


def test_a_role_that_ignores_term_is_killed(run: Callable[..., Ran]) -> None:
    """Half a second after it was asked to end; that is no fault of the cell."""
    ran = run(worker="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + GOOD_WORKER)
    assert ran.result.verdict.status == "succeeded"
    assert [act for act in ran.sites.made[0].did if act.startswith(("term", "kill"))] == [
        "terminate worker",
        "kill worker",
    ]
    assert ran.result.exits["worker"] == 137
    assert 0.4 < ran.result.spans["end"] < 2


@pytest.mark.parametrize("confirmed", [True, False])
def test_127_before_ready_is_believed_when_a_probe_says_it_too(run: Callable[..., Ran], confirmed: bool) -> None:
    """Otherwise the cell has failed, and the sentence says why."""
    asked: list[tuple[str, str]] = []

    def probe(*who: str) -> bool:
        asked.append((who[0], who[1]))
        return confirmed

    ran = run(driver="raise SystemExit(127)", probe=probe)
    assert asked == [("d", "driver")]
    assert ran.result.verdict.status == ("unsupported" if confirmed else "failed")
    assert ran.deciding() == next(event for event in ran.events if event.ty == "exited")
    assert ran.types[-2:] == ["runner.probe", "status"]
    assert confirmed or "not confirmed: of a test with a random name it does not say so" in ran.result.verdict.reason


def test_an_implementation_is_probed_once_for_each_role(tmp_path: Path) -> None:
    """Of all threads that ask at a time, one probes, and all have its answer."""
    sites, names = SmallSites(), []

    def started(implementation: str, role: str, test: str) -> Part:
        names.append((implementation, role, test[:6]))
        return part(role, "raise SystemExit(127)" if implementation == "d" else READY + WAIT)

    probes = Probes(sites, tmp_path, started)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(probes("d", "driver"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert answers == [True] * 4
    assert probes("w", "driver") is False
    assert names == [("d", "driver", "probe-"), ("w", "driver", "probe-")]
    assert all(site.did[-1] == "remove" for site in sites.made)


@pytest.mark.parametrize("what", ["create", "start"])
def test_what_an_engine_refuses_is_broken(run: Callable[..., Ran], what: str) -> None:
    """The implementations are not to blame, the engine's words are kept, and all is removed."""
    ran = run(sites=SmallSites(**{what: BrokenStack("no network is left")}))
    assert (ran.result.verdict.status, ran.result.verdict.blame) == ("broken", "engine")
    whose = "worker (w) cannot be started: " if what == "start" else ""
    assert ran.result.verdict.reason == f"{whose}no network is left"
    assert ran.sites.made[0].did[-1] == "remove"


def test_what_cannot_be_removed_is_told_and_changes_no_verdict(run: Callable[..., Ran]) -> None:
    """What is left belongs to the run's own end."""
    ran = run(sites=SmallSites(remove=HarnessError("network n is in use"), collect=HarnessError("no")))
    assert ran.result.verdict.status == "succeeded"
    assert ran.result.left == ("what it left in /logs: no", "network n is in use")


def test_a_cell_that_is_stopped_ends_at_once_and_is_not_judged(tmp_path: Path) -> None:
    """Its roles are killed, whatever they ignore."""
    stop, sites = threading.Event(), SmallSites()
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + WAIT
    parts = [part("worker", deaf), part("driver", deaf)]
    threading.Timer(0.6, stop.set).start()
    started = clock.now()
    assert run_cell(CELL, Case("t"), parts, tmp_path / "c", Around(sites, lambda *_: True, stop)) is None
    assert clock.now() - started < 3
    assert sites.made[0].did[-3:] == ["kill worker driver", "collect", "remove"]
    assert not (tmp_path / "c" / "verdict.json").exists()


def test_a_skipped_cell_is_not_run(tmp_path: Path) -> None:
    """It has a verdict and no folder."""
    sites = SmallSites()
    cell = Cell("t/w/d", "t", "w", "d", skipped="w: not yet")
    result = run_cell(cell, Case("t"), [], tmp_path / "c", Around(sites, lambda *_: True, threading.Event()))
    assert result
    assert (result.verdict.status, result.verdict.reason) == ("skipped", "w: not yet")
    assert not sites.made
    assert not (tmp_path / "c").exists()


def test_evidence_is_there_while_the_cell_runs(tmp_path: Path) -> None:
    """Whoever kills the run finds what was said until then."""
    stop, folder = threading.Event(), tmp_path / "c"
    parts = [part("worker", "print('hello', flush=True)\n" + GOOD_WORKER), part("driver", READY + WAIT)]
    around = Around(SmallSites(), lambda *_: True, stop)
    thread = threading.Thread(target=run_cell, args=(CELL, Case("t"), parts, folder, around))
    thread.start()
    for _ in clock.poll(clock.Deadline.after(10)):
        if (folder / "events.jsonl").exists() and len(events_of(folder)) >= 4:
            break
    assert [event.ty for event in events_of(folder)] == ["exec", "log", "ready", "ready"]
    assert (folder / "worker.log").read_bytes().startswith(b"hello\n")
    stop.set()
    thread.join(timeout=10)


def test_a_flood_is_kept_in_bounds_and_the_driver_is_heard_through_it(run: Callable[..., Ran]) -> None:
    """200 MB of lines make no more than the kept events and bytes, and a done among them counts."""
    driver = READY + "import sys\nfor _ in range(2000): sys.stdout.write('x' * 99 + '\\n' + 'y\\n' * 50000)\n" + DONE
    started = time.monotonic()
    ran = run(driver=driver)
    assert ran.result.verdict.status == "succeeded"
    assert ran.types.count("runner.flooded") == 1
    assert len(ran.events) < 10_100
    assert next(event for event in ran.events if event.ty == "exited").info["bytes"] > 200_000_000
    assert (ran.folder / "driver.log").stat().st_size < 10 * 1024 * 1024
    assert b"bytes left out" in (ran.folder / "driver.log").read_bytes()
    assert time.monotonic() - started < 30


def test_samples_are_kept_one_by_one(run: Callable[..., Ran]) -> None:
    """A measuring driver's figures are in its result, by name and in order."""
    say = 'print(\'{"ty":"sample","in":{"name":"ms","value":%s}}\')\n'
    ran = run(driver=READY + say % 1 + say % 2.5 + DONE)
    assert ran.result.samples == {"ms": [1.0, 2.5]}


# -- programs that know of no events ----------------------------------------------------------------------------------

SERVES = "import sys\nprint('listening', flush=True)\nfor line in sys.stdin: pass\n"


@pytest.mark.parametrize(
    ("driver", "probed", "expected"),
    [
        ("", False, ("succeeded", "")),
        ("raise SystemExit(1)", False, ("failed", "driver")),
        ("raise SystemExit(127)", True, ("unsupported", "driver")),
        ("raise SystemExit(127)", False, ("failed", "driver")),
        ("import os\nos.kill(os.getpid(), 9)", False, ("crashed", "driver")),
    ],
)
def test_programs_that_send_no_events_are_judged_by_how_they_end(
    tmp_path: Path, driver: str, probed: bool, expected: tuple[str, str]
) -> None:
    """A server that is ready by a line, and a client by its exit code, must have the verdicts of those that say so."""
    case = Case("t", roles=(Role("worker"), Role("driver")), timeout=20)
    parts = [
        replace(part(role, code), contract="exit-code", ready=ready)
        for role, code, ready in (("worker", SERVES, "^listening$"), ("driver", driver, ""))
    ]
    folder, sites = tmp_path / "cell", SmallSites()
    result = run_cell(CELL, case, parts, folder, Around(sites, lambda *_: probed, threading.Event()))
    ran = Ran(result, sites, folder, case, CELL)
    assert (ran.result.verdict.status, ran.result.verdict.role) == expected
