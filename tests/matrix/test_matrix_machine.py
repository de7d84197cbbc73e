"""The stages of a cell: strict, and always at their end, whatever happens in whatever order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.matrix import machine
from harness.matrix.cases import Case, Role
from harness.matrix.cells import Cell
from harness.matrix.events import Event
from harness.matrix.judging import judge
from harness.matrix.machine import Machine
from harness.matrix.verdicts import STATUSES

CASE = Case("t", roles=(Role("relay", ("x",)), Role("worker"), Role("driver")))
CELL = Cell("t/w/d", "t", "w", "d", timeout=10.0)
ROLES = ("relay", "worker", "driver")


class Lived:
    """A machine, what it has ordered, and what it has recorded."""

    def __init__(self, case: Case = CASE, cell: Cell = CELL, *, keeps: bool = False) -> None:
        self.case, self.cell = case, cell
        self.machine = Machine(case, cell, keeps=keeps)
        self.orders: list[machine.Order] = []
        self.events: list[Event] = []
        self.at = 100.0

    def __call__(self, *happenings: machine.Happening, after: float = 0.0) -> list[machine.Order]:
        """Have things happen; return what is ordered."""
        self.at += after
        ordered: list[machine.Order] = []
        for happening in happenings:
            step = self.machine.handle(happening, self.at, int(self.at * 1000))
            self.events += step.events
            ordered += step.orders
        self.orders += ordered
        return [order for order in ordered if not isinstance(order, machine.Tell)]

    def says(self, role: str, ty: str, **info: object) -> list[machine.Order]:
        return self(machine.Said(Event(ty, role, int(self.at * 1000), 0, info)))

    def up(self) -> Lived:
        """Have all roles ready."""
        self(machine.Created())
        for role in ROLES:
            self.says(role, "ready")
        return self

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(order.role, order.line.decode()) for order in self.orders if isinstance(order, machine.Tell)]


def test_each_role_is_started_when_the_one_before_is_ready() -> None:
    """And not by anything else that it says."""
    lived = Lived()
    assert lived(machine.Tick()) == []
    assert lived(machine.Created()) == [machine.Start("relay")]
    assert lived(machine.Created()) == []
    assert lived.says("relay", "endpoint.new") == []
    assert lived.says("driver", "ready") == []  # of whom there is no process yet
    assert lived.machine.waits_for == "relay"
    assert lived.says("relay", "ready") == [machine.Start("worker")]
    assert lived.says("worker", "ready") == [machine.Start("driver")]
    assert lived.says("driver", "ready") == []
    assert lived.machine.stage == "running"


def test_the_end_of_the_driver_ends_the_others() -> None:
    """First by TERM, half a second later by KILL; then what they left is collected, and that is all."""
    lived = Lived().up()
    assert lived.says("driver", "done") == []
    assert lived(machine.Exited("driver", 0)) == [machine.Terminate(("relay", "worker"))]
    assert lived(machine.Exited("relay", -15)) == []
    assert lived(machine.Tick(), after=0.4) == []
    assert lived(machine.Tick(), after=0.2) == [machine.Kill(("worker",))]
    assert lived(machine.Exited("worker", -9)) == [machine.Collect()]
    assert lived(machine.Collected()) == [machine.Finish()]
    assert lived(machine.Tick(), machine.Exited("worker", 0), machine.Collected()) == []
    assert lived.machine.verdict().status == "succeeded"
    codes = {event.ro: event.info for event in lived.events if event.ty == "exited"}
    assert codes["worker"] == {"exit_code": 137, "signal": "SIGKILL"}
    assert codes["driver"] == {"exit_code": 0}


def test_a_signal_is_the_same_on_every_engine() -> None:
    """An engine of containers says 139 where a process of this machine says -11."""
    for code in (-11, 139):
        lived = Lived().up()
        lived(machine.Exited("worker", code))
        assert lived.events[-2].info == {"exit_code": 139, "signal": "SIGSEGV"}
        assert lived.machine.verdict().reason == "worker (w) was ended by SIGSEGV (exit code 139)"


def test_want_of_memory_is_told() -> None:
    """A container that the kernel ended says only 137."""
    lived = Lived().up()
    lived(machine.Exited("worker", 137, oom=True))
    assert lived.machine.verdict().status == "crashed"
    assert lived.machine.verdict().reason == "worker (w) was ended for want of memory (exit code 137)"


@pytest.mark.parametrize(
    ("done", "code", "status"),
    [(False, 0, "succeeded"), (False, 3, "failed"), (True, 0, "succeeded"), (True, 3, "failed")],
)
def test_an_extra_role_may_end_well_and_not_otherwise(done: bool, code: int, status: str) -> None:
    """Before the driver has ended."""
    lived = Lived().up()
    if done:
        lived.says("driver", "done")
    lived(machine.Exited("relay", code))
    lived.says("driver", "done")
    lived(machine.Exited("driver", 0))
    assert lived.machine.verdict().status == status


def test_a_worker_may_end_well_once_the_driver_is_done() -> None:
    """It is told of that, and may go by itself."""
    lived = Lived().up()
    lived.says("driver", "done")
    lived(machine.Exited("worker", 0), machine.Exited("driver", 0))
    assert lived.machine.verdict().status == "succeeded"


def test_done_of_another_role_means_nothing() -> None:
    """Only the driver's counts; the others are told of it all the same."""
    lived = Lived().up()
    lived.says("worker", "done")
    lived(machine.Exited("driver", 0))
    assert lived.machine.verdict().reason == "driver (d) exited with 0 without being done"


def test_peers_are_told_of_ready_and_done_and_nobody_of_itself() -> None:
    """Who starts later is told first thing; who has ended is not."""
    lived = Lived().up()
    lived(machine.Exited("relay", 0))
    lived.says("driver", "done")
    told = [(role, line.split('"ro": "')[1].split('"')[0]) for role, line in lived.told]
    assert told == [
        ("worker", "relay"),
        ("relay", "worker"),
        ("driver", "relay"),
        ("driver", "worker"),
        ("relay", "driver"),
        ("worker", "driver"),
        ("worker", "driver"),
    ]
    assert all(line.endswith("}\n") for _, line in lived.told)


def test_values_of_an_assertion_are_compared_as_they_come() -> None:
    """The first difference is recorded once, with all values, as the fault of who came later."""
    lived = Lived().up()
    for role, value in (("relay", 1), ("worker", 1.0), ("driver", True), ("driver", 7)):
        lived.says(role, "assert", assert_id="n", value=value)
    failed = [event for event in lived.events if event.ty == "assert-failed"]
    assert [(event.ro, event.info) for event in failed] == [
        ("driver", {"assert_id": "n", "values": {"relay": 1, "worker": 1.0, "driver": True}})
    ]
    verdict = lived.machine.verdict()
    assert (verdict.status, verdict.role) == ("failed", "driver")
    assert verdict.event is not None
    assert lived.events[verdict.event] == failed[0]


def test_the_first_event_that_decides_is_what_counts() -> None:
    """What follows from it, or comes too late, changes nothing."""
    lived = Lived().up()
    lived(machine.Exited("worker", 3), machine.Exited("driver", -11), machine.Tick(), after=1)
    lived(machine.Tick(), after=20)
    lived(machine.Exited("relay", -9), machine.Collected())
    verdict = lived.machine.verdict()
    assert (verdict.status, verdict.role, verdict.reason) == ("failed", "worker", "worker (w) exited with 3")
    assert lived.machine.stage == "finished"


def test_a_time_out_ends_the_cell() -> None:
    """At the moment that was promised, and everybody is ended."""
    lived = Lived()
    lived(machine.Created())
    assert lived.machine.wakes_at == 110.0
    assert lived(machine.Tick(), after=9.9) == []
    assert lived(machine.Tick(), after=0.1) == [machine.Terminate(("relay",))]
    assert lived.machine.verdict().reason == "relay (d) was not ready after 10 s"


def test_a_role_that_survives_kill_does_not_hold_the_cell() -> None:
    """It is recorded, does not change what was decided, and the cell goes on to its end."""
    lived = Lived().up()
    lived.says("driver", "done")
    lived(machine.Exited("driver", 0), machine.Exited("relay", 0))
    lived(machine.Tick(), after=1)
    assert lived(machine.Tick(), after=10.1) == [machine.Collect()]
    assert lived.events[-1].info["why"] == "worker did not end within 10 s of KILL"
    assert lived(machine.Collected()) == [machine.Finish()]
    assert lived.machine.verdict().status == "succeeded"


@pytest.mark.parametrize(
    ("answer", "status", "blame"),
    [(True, "unsupported", "role"), (False, "failed", "role"), (None, "broken", "engine")],
)
def test_127_is_asked_about_when_all_have_ended(answer: bool | None, status: str, blame: str) -> None:
    """Only then is there room for the probe; its answer is recorded."""
    lived = Lived()
    lived(machine.Created())
    lived.says("relay", "ready")
    assert lived(machine.Exited("worker", 127)) == [machine.Terminate(("relay",))]
    assert lived(machine.Exited("relay", -15)) == [machine.Collect()]
    assert lived(machine.Collected()) == [machine.Probe("w", "worker")]
    assert lived(machine.Probed(answer)) == [machine.Finish()]
    assert (lived.machine.verdict().status, lived.machine.verdict().blame) == (status, blame)


def test_an_engine_that_is_lost_is_to_blame() -> None:
    """With what it said; a role that could not be started is not waited for."""
    lived = Lived()
    lived(machine.Created())
    assert lived(machine.Refused("relay", "no memory")) == [machine.Collect()]
    assert lived(machine.Collected()) == [machine.Finish()]
    assert (lived.machine.verdict().blame, lived.machine.verdict().reason) == ("engine", "no memory")


def test_a_stop_kills_at_once() -> None:
    """At whatever stage, once."""
    lived = Lived().up()
    assert lived(machine.Stopped()) == [machine.Kill(ROLES)]
    assert lived(machine.Stopped()) == []
    assert lived.machine.is_stopped


def test_what_a_stopped_cell_recorded_decides_nothing() -> None:
    """Neither that its roles were killed nor what they wrote when that was done."""
    lived = Lived().up()
    lived(machine.Stopped())
    lived.says("worker", "runner.malformed", why="no JSON")
    lived(*(machine.Exited(role, -9) for role in ROLES), machine.Collected())
    verdict = judge(CASE, CELL, lived.events)
    assert (verdict.status, verdict.blame) == ("broken", "runner")
    assert verdict.reason == "its log ends before anything was decided"


def test_a_second_ready_is_malformed() -> None:
    """It is recorded as that, with the line, and fails its role."""
    lived = Lived().up()
    assert lived.says("worker", "ready") == [machine.Terminate(ROLES)]
    assert lived.events[-2].info["why"] == "a second ready"
    assert lived.machine.verdict().role == "worker"


def happenings(dice: random.Random) -> machine.Happening:
    """Return something that may happen at any time, or cannot."""
    role = dice.choice((*ROLES, "nobody"))
    types = ["ready", "ready", "ready", "done", "log", "runner.malformed", "endpoint.new", "assert", "check"]
    info = {"assert_id": dice.randrange(2), "value": dice.randrange(3), "ok": dice.random() < 0.8, "why": "x"}
    said = [machine.Said(Event(dice.choice(types), role, 0, 0, info)) for _ in range(6)]
    others: list[machine.Happening] = [
        machine.Created(),
        machine.Exited(role, dice.choice((0, 0, 1, 127, 137, -11)), dice.random() < 0.1),
        machine.Lost("gone", dice.choice((role, ""))),
        machine.Refused(role, "no"),
        machine.Collected(),
        machine.Probed(dice.choice((True, False, None))),
        machine.Tick(),
    ]
    return dice.choice((*said, *others, *([machine.Stopped()] if dice.random() < 0.1 else [])))


@pytest.mark.parametrize("seed", range(400))
def test_whatever_happens_a_cell_ends_once(seed: int) -> None:
    """In any order, also of what cannot be: no order twice, none after the end, and a verdict that is stored."""
    dice = random.Random(seed)  # noqa: S311 - a dice that can be thrown again
    lived = Lived()
    for _ in range(dice.randrange(2, 60)):
        lived(happenings(dice), after=dice.choice((0.0, 0.01, 0.3, 3.0)))
    # From here on it is only answered as an engine must: each order is carried out, and time passes.
    for _ in range(40):
        stage = lived.machine.stage
        if stage == "finished":
            break
        answers: dict[str, machine.Happening] = {
            "creating": machine.Created(),
            "collecting": machine.Collected(),
            "probing": machine.Probed(unsupported=True),
        }
        lived(answers.get(stage, machine.Tick()), after=3.0)
    assert lived.machine.stage == "finished"
    assert lived.machine.wakes_at is None
    assert lived(*(happenings(dice) for _ in range(50)), after=60) == []
    kinds = [type(order).__name__ for order in lived.orders]
    assert kinds.count("Finish") == 1
    assert kinds[-1] == "Finish"
    assert kinds.count("Collect") == 1
    for kind in ("Terminate", "Kill", "Probe"):
        assert kinds.count(kind) <= 1
    started = [order.role for order in lived.orders if isinstance(order, machine.Start)]
    assert started == list(ROLES[: len(started)])
    assert [event.ty for event in lived.events].count("status") == 1
    assert (lived.events[0].ty, lived.events[-1].ty) == ("exec", "status")
    verdict = judge(lived.case, lived.cell, lived.events)
    assert verdict == lived.machine.verdict()
    assert verdict.status in STATUSES
    assert verdict.reason
    assert lived.events[-1].info == {"success": verdict.status == "succeeded", "verdict": verdict.status}


def test_an_event_numbers_what_the_runner_adds() -> None:
    """Each has a number of its own; a parameter's values are told at the start."""
    lived = Lived(cell=replace(CELL, params={"size": "3"})).up()
    lived(machine.Exited("driver", 1), machine.Exited("relay", 0), machine.Exited("worker", 0), machine.Collected())
    own = [event for event in lived.events if event.ty != "ready"]
    assert [event.id for event in own] == list(range(len(own)))
    assert own[0].info == {"worker": "w", "driver": "d", "params": {"size": "3"}}


# -- a cell that is left standing ------------------------------------------------------------------------------------


def test_a_cell_that_is_kept_is_decided_and_no_role_of_it_ended() -> None:
    """Roles that live must be neither asked to end nor killed, and the verdict be that of a cell that is not kept."""
    lived = Lived(keeps=True).up()
    lived.says("driver", "done")
    assert lived(machine.Exited("driver", 0)) == [machine.Collect()]
    assert lived(machine.Tick(), after=60.0) == []
    assert lived(machine.Collected()) == [machine.Finish()]
    assert lived.machine.verdict().status == "succeeded"
    assert [event.info["kept"] for event in lived.events if "kept" in event.info] == [["relay", "worker"]]
    assert judge(lived.case, lived.cell, lived.events) == lived.machine.verdict()


def test_a_cell_that_is_kept_has_its_hanging_driver_too() -> None:
    """What a time-out is about must be there for a look."""
    lived = Lived(keeps=True).up()
    assert lived(machine.Tick(), after=CELL.timeout + 1) == [machine.Collect()]
    assert lived(machine.Collected()) == [machine.Finish()]
    assert lived.machine.verdict().status == "timeout"


def test_a_cell_that_is_kept_is_ended_all_the_same_when_its_run_is_stopped() -> None:
    """Nobody looks at what Ctrl-C was meant for."""
    assert Lived(keeps=True).up()(machine.Stopped()) == [machine.Kill(ROLES)]
