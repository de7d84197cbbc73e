"""Containers, networks and volumes: found by label, removed when they are proven to be ours, and looked for again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_engine import FakeEngine

from harness import clock
from harness.daemon import Api, Daemon
from harness.ownership import ledger, objects, removal
from harness.ownership.identity import Owner, this_process
from harness.ownership.ledger import LedgerRecord, LedgerWriter
from harness.ownership.sweep import Swept, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

ENV, NONCE = "20260102-030405-abcdef", "0123456789abcdef"
MINE = {objects.RUN: ENV, objects.NONCE: NONCE, objects.SCHEMA_LABEL: objects.SCHEMA}
COPIED = {**MINE, objects.NONCE: "another"}
LABEL = f"{objects.RUN}={ENV}"


def ours(labels: dict[str, str]) -> bool:
    """Tell what is ours, as a keeper does."""
    return labels.get(objects.NONCE) == NONCE


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """A running engine with nothing on it."""
    with FakeEngine(tmp_path / "docker.sock").running() as made:
        yield made


@pytest.fixture
def api(engine: FakeEngine) -> Api:
    """What it is asked by."""
    return Api(engine.daemon)


def owner_labels(owner: Owner, **more: str) -> dict[str, str]:
    """Return the labels of something whose owner this is."""
    return {**MINE, objects.OWNER: json.dumps(owner.as_dict()), **more}


@pytest.fixture
def dead() -> Owner:
    """A process of this user, machine and boot that is gone."""
    me = this_process()
    return replace(me, start=me.start - 1)


def test_everything_of_ours_is_found_and_removed(engine: FakeEngine, api: Api) -> None:
    """Containers must go first, then networks, then volumes, until a look finds none of them."""
    engine.containers = {"c1": MINE, "c2": MINE}
    engine.networks = {"n1": (MINE, ["c1", "c2"])}
    engine.volumes = {"v1": (MINE, ["c1"])}
    assert objects.remove_all(api, LABEL, ours) == []
    assert (engine.containers, engine.networks, engine.volumes) == ({}, {}, {})
    removed = engine.did("DELETE")
    assert sorted(removed[:2]) == ["/containers/c1", "/containers/c2"]
    assert removed[2:] == ["/networks/n1", "/volumes/v1"]
    assert engine.did("GET")[-3:] == ["/containers/json", "/networks", "/volumes"]


def test_objects_tell_what_they_are(engine: FakeEngine, api: Api) -> None:
    """What is found must be told by kind and name, and labels that an engine leaves out must be no labels."""
    engine.containers = {"c1": MINE, "other": {}}
    engine.networks = {"n1": (MINE, [])}
    engine.volumes = {"v1": (MINE, []), "v2": ({objects.RUN: "another"}, [])}
    found = objects.find(api, LABEL)
    assert [(str(one), one.id) for one in found] == [
        ("container c1-name", "c1"),
        ("network n1-name", "n1"),
        ("volume v1", "v1"),
    ]
    assert [one.id for one in objects.find(api, objects.RUN, ["volume"])] == ["v1", "v2"]


def test_a_copied_label_proves_nothing(engine: FakeEngine, api: Api) -> None:
    """What carries our run's label without its nonce must not be touched, and is nothing that is left."""
    engine.containers = {"c1": MINE, "theirs": COPIED}
    engine.networks = {"theirs": (COPIED, ["theirs"])}
    engine.volumes = {"theirs": (COPIED, [])}
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == ["/containers/c1"]
    assert (list(engine.containers), list(engine.networks), list(engine.volumes)) == (["theirs"],) * 3


def test_only_what_is_wanted_is_removed(engine: FakeEngine, api: Api) -> None:
    """A stack's removal must leave the other stacks of its environment alone."""
    engine.containers = {"a": {**MINE, objects.STACK: "a"}, "b": {**MINE, objects.STACK: "b"}}
    assert objects.remove_all(api, LABEL, ours, where=lambda labels: labels.get(objects.STACK) == "a") == []
    assert list(engine.containers) == ["b"]


def test_a_volume_that_got_other_labels_meanwhile_is_kept(engine: FakeEngine, api: Api) -> None:
    """A volume has only a name: it must be asked again before it is removed."""
    engine.volumes = {"v1": (MINE, [])}

    def made_anew(_: str, path: str) -> None:
        if path == "/volumes/v1":
            engine.volumes["v1"] = (COPIED, [])

    engine.before = made_anew
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == []
    assert list(engine.volumes) == ["v1"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_volume_of_which_nothing_can_be_told_is_kept(engine: FakeEngine, api: Api, status: int) -> None:
    """A volume whose labels the engine does not tell must not be removed; one that is gone must count as removed."""
    engine.volumes = {"v1": (MINE, [])}
    engine.before = lambda _, path: (status, {"message": "no"}) if path == "/volumes/v1" else None
    said = objects.remove(api, objects.find(api, LABEL)[0], ours)
    assert (said and said.reason) == (None if status == 404 else "volume v1: no")
    assert engine.did("DELETE") == []


def test_what_is_gone_already_is_gone(engine: FakeEngine, api: Api) -> None:
    """A container that somebody else removes between look and act must count as removed."""
    engine.containers = {"c1": MINE}

    def gone(method: str, _: str) -> None:
        if method == "DELETE":
            engine.containers.clear()

    engine.before = gone
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == ["/containers/c1"]


def test_a_refusal_is_tried_again(engine: FakeEngine, api: Api) -> None:
    """What cannot be removed at once must be tried until it goes."""
    engine.containers = {"c1": MINE}
    refusals = iter([(409, {"message": "removal of container c1 is already in progress"})] * 3)
    engine.before = lambda method, _: next(refusals, None) if method == "DELETE" else None
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == ["/containers/c1"] * 4


def test_what_stays_is_told_in_the_engines_words(engine: FakeEngine, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be removed in time must be told with the engine's reason."""
    monkeypatch.setattr(objects, "VERIFY_BUDGET", 0.2)
    engine.containers = {"c1": MINE}
    engine.before = lambda method, _: (500, {"message": "device is busy"}) if method == "DELETE" else None
    assert objects.remove_all(api, LABEL, ours) == ["container c1-name: device is busy"]
    assert len(engine.did("DELETE")) > 1


def test_what_stays_without_a_reason_is_told_too(engine: FakeEngine, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that says 'removed' of what it still lists must not be believed."""
    monkeypatch.setattr(objects, "VERIFY_BUDGET", 0.2)
    engine.containers = {"c1": MINE}
    engine.before = lambda method, _: (204, "") if method == "DELETE" else None
    assert objects.remove_all(api, LABEL, ours) == ["container c1-name: still there"]


def test_a_stranger_in_our_network_is_named_and_left_alone(engine: FakeEngine, api: Api) -> None:
    """Somebody else's container in our network must stay in it, and must be named at once as the reason."""
    engine.containers = {"stranger": {}}
    engine.networks = {"n1": (MINE, ["stranger"])}
    started = clock.now()
    left = objects.remove_all(api, LABEL, ours)
    assert left == ["network n1-name: it is used by container stranger-name, not ours"]
    assert clock.now() - started < objects.VERIFY_BUDGET / 2
    assert engine.networks["n1"][1] == ["stranger"]
    assert engine.did("POST") == []


def test_a_stranger_with_our_volume_is_named(engine: FakeEngine, api: Api) -> None:
    """Somebody else's container that uses our volume must be named as the reason."""
    engine.containers = {"stranger": {}}
    engine.volumes = {"v1": (MINE, ["stranger"])}
    left = objects.remove_all(api, LABEL, ours)
    assert left == ["volume v1: it is used by container stranger-name, not ours"]
    assert "stranger" in engine.containers


def test_our_own_containers_are_taken_off_a_stacks_network(engine: FakeEngine, api: Api) -> None:
    """A container of a stack that stays must leave the network of one that goes, and live on."""
    engine.containers = {"base": {**MINE, objects.STACK: "base"}}
    engine.networks = {"n1": ({**MINE, objects.STACK: "top"}, ["base"])}
    assert objects.remove_all(api, LABEL, ours, where=lambda labels: labels.get(objects.STACK) == "top") == []
    assert (list(engine.containers), engine.networks) == (["base"], {})
    assert engine.did("POST") == ["/networks/n1/disconnect"]


def test_our_own_container_on_its_way_out_is_no_stranger(engine: FakeEngine, api: Api) -> None:
    """A volume of a container whose removal takes a moment must be tried again, not given up as somebody else's."""
    engine.containers = {"c1": MINE}
    engine.volumes = {"v1": (MINE, ["c1"])}
    refusals = iter([(409, {"message": "removal of container c1 is already in progress"})] * 2)
    engine.before = lambda _, path: next(refusals, None) if path == "/containers/c1" else None
    assert objects.remove_all(api, LABEL, ours) == []
    assert (engine.containers, engine.volumes) == ({}, {})


def test_what_a_killed_compose_had_asked_for_is_waited_for(engine: FakeEngine, api: Api) -> None:
    """Within ``settle`` seconds, what appears after an empty look must be removed too."""
    looks = iter(range(1000))

    def appears(method: str, path: str) -> None:
        if (method, path) == ("GET", "/containers/json") and next(looks) == 3:
            engine.containers["late"] = MINE

    engine.before = appears
    started = clock.now()
    assert objects.remove_all(api, LABEL, ours, settle=0.3) == []
    assert clock.now() - started >= 0.3
    assert engine.did("DELETE") == ["/containers/late"]


# -- without a keeper: ledgers of dead runs, and things without a ledger ---------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def record_of(tmp_path: Path, **more: Any) -> LedgerRecord:
    """Return the ledger of an environment whose keeper is gone."""
    me = this_process()
    made = LedgerRecord(
        path=tmp_path / f"{ENV}{ledger.SUFFIX}",
        env=ENV,
        checkout="/src",
        engine="compose",
        folder=str(tmp_path / "run"),
        socket="nobody",
        keeper=replace(me, start=me.start - 1),
        nonce=NONCE,
    )
    return replace(made, **more)


def test_the_ledgers_nonce_is_the_proof(engine: FakeEngine, tmp_path: Path) -> None:
    """What is removed for a dead environment must have its label and the nonce in its ledger."""
    engine.containers = {"c1": MINE, "theirs": COPIED}
    assert removal.remove_containers(record_of(tmp_path, daemon=engine.daemon)) == []
    assert list(engine.containers) == ["theirs"]


def test_without_a_nonce_nothing_is_removed(engine: FakeEngine, tmp_path: Path) -> None:
    """A ledger that lost its nonce proves nothing, and that must be said."""
    engine.containers = {"c1": MINE}
    left = removal.remove_containers(record_of(tmp_path, daemon=engine.daemon, nonce=""))
    assert left == [f"containers of {ENV}: its ledger has no nonce, so nothing proves which are its"]
    assert engine.asked == []


def test_an_environment_without_containers_asks_no_engine(tmp_path: Path) -> None:
    """The ledger of local processes must be cleared without an engine."""
    assert removal.remove_containers(record_of(tmp_path)) == []


def test_a_ledger_stays_while_its_engine_is_away(tmp_path: Path) -> None:
    """Containers on an engine that does not answer are left over; their ledger must stay for the next sweep."""
    record = record_of(tmp_path, daemon=Daemon(f"unix://{tmp_path}/none.sock", "a test"))
    record.path.write_text("{}")
    assert removal.clear(record) == [
        (
            f"containers of {ENV}: Docker engine unix://{tmp_path}/none.sock (a test) does not answer: "
            "No such file or directory"
        )
    ]
    assert record.path.exists()


def test_a_dead_runs_containers_are_swept(engine: FakeEngine, state: Path, tmp_path: Path, dead: Owner) -> None:
    """The sweep must remove what a ledger of dead owners names, on the engine that it names, then the ledger."""
    header = {"env": ENV, "checkout": "/src", "engine": "compose", "folder": str(tmp_path / "run"), "socket": "nobody"}
    path = state / f"{ENV}{ledger.SUFFIX}"
    lines = {**header, "owner": dead.as_dict(), "nonce": NONCE, "daemon": engine.daemon.as_dict()}
    path.write_text(json.dumps({"kind": "header", "schema": ledger.SCHEMA, **lines}) + "\n")
    engine.containers = {"c1": owner_labels(dead), "theirs": COPIED}
    assert sweep(state).lines() == [f"environment {ENV} of a dead run was cleared"]
    assert (list(engine.containers), path.exists()) == (["theirs"], False)


def test_orphans_of_a_dead_owner_are_swept(engine: FakeEngine, state: Path, dead: Owner) -> None:
    """Where the ledger is lost, labels of an owner that is proven dead must be proof enough."""
    engine.containers = {"c1": owner_labels(dead)}
    engine.networks = {"n1": (owner_labels(dead), ["c1"])}
    engine.volumes = {"v1": (owner_labels(dead), [])}
    assert sweep(state, daemon=engine.daemon).lines() == [
        f"containers of environment {ENV}, whose ledger is lost and whose owner is dead, were cleared"
    ]
    assert (engine.containers, engine.networks, engine.volumes) == ({}, {}, {})


@pytest.mark.parametrize(
    ("local", "machine", "left"), [(True, "m", []), (True, "", ["c1"]), (False, "m", ["c1"]), (False, "", ["c1"])]
)
def test_another_boot_is_proof_on_this_machine_only(
    engine: FakeEngine, api: Api, *, local: bool, machine: str, left: list[str]
) -> None:
    """What an earlier boot left must be swept where the engine is here, and machines can be told apart; never else."""
    here = replace(this_process(), machine=machine)
    engine.containers = {"c1": owner_labels(replace(here, boot="another"))}
    told = objects.remove_orphans(api, here, set(), local=local)
    assert (len(told), list(engine.containers)) == (1 - len(left), left)


NOT_PROVEN_DEAD: dict[str, dict[str, Any]] = {
    "lives": {},
    "is another user's": {"uid": 4242, "start": 1},
    "is on another machine": {"machine": "another", "start": 1},
    "is in another process namespace": {"pidns": 1, "start": 1},
}


@pytest.mark.parametrize("name", NOT_PROVEN_DEAD)
def test_an_owner_that_may_live_keeps_its_things(engine: FakeEngine, state: Path, name: str) -> None:
    """Nothing may be swept of an owner that lives, or of which that cannot be known here."""
    engine.containers = {"c1": owner_labels(replace(this_process(), **NOT_PROVEN_DEAD[name]))}
    assert sweep(state, daemon=engine.daemon) == Swept()
    assert (list(engine.containers), engine.did("DELETE")) == (["c1"], [])


NO_PROOF: dict[str, dict[str, str]] = {
    "no owner": {objects.OWNER: ""},
    "an owner in another form": {objects.OWNER: '{"pid": 1}'},
    "an owner that is no table": {objects.OWNER: "[]"},
    "another schema": {objects.SCHEMA_LABEL: "2"},
    "no nonce": {objects.NONCE: ""},
}


@pytest.mark.parametrize("name", NO_PROOF)
def test_labels_that_cannot_be_read_prove_nothing(engine: FakeEngine, state: Path, dead: Owner, name: str) -> None:
    """An orphan whose labels are not wholly ours must be left alone."""
    engine.containers = {"c1": {**owner_labels(dead), **NO_PROOF[name]}}
    assert sweep(state, daemon=engine.daemon) == Swept()
    assert list(engine.containers) == ["c1"]


def test_an_environment_with_a_ledger_is_no_orphan(engine: FakeEngine, state: Path, dead: Owner) -> None:
    """What a ledger names is its keeper's or the ledger's sweep's, even if its labels' owner is dead."""
    header = {"env": ENV, "checkout": "/src", "engine": "compose", "folder": "/nonexistent", "socket": "nobody"}
    writer = LedgerWriter(
        state / f"{ENV}{ledger.SUFFIX}",
        {**header, "owner": this_process().as_dict(), "nonce": NONCE, "daemon": engine.daemon.as_dict()},
    )
    engine.containers = {"c1": owner_labels(dead)}
    assert sweep(state, daemon=engine.daemon) == Swept()
    assert list(engine.containers) == ["c1"]
    writer.delete()


def test_orphans_that_stay_are_told(engine: FakeEngine, state: Path, dead: Owner) -> None:
    """What is left of a lost environment must be told with its reason."""
    engine.containers = {"stranger": {}}
    engine.networks = {"n1": (owner_labels(dead), ["stranger"])}
    assert sweep(state, daemon=engine.daemon).lines() == [
        (
            f"containers of environment {ENV}, whose ledger is lost and whose owner is dead, could not be cleared: "
            "network n1-name: it is used by container stranger-name, not ours"
        )
    ]


def test_an_engine_that_refuses_to_list_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    """An engine that cannot list must be told as a reason why containers are left, in its own words."""
    engine.before = lambda _, path: (500, {"message": "disk is full"}) if path == "/containers/json" else None
    (left,) = removal.remove_containers(record_of(tmp_path, daemon=engine.daemon))
    assert left.startswith(f"containers of {ENV}: ")
    assert "disk is full" in left


def test_orphans_that_cannot_be_listed_stop_no_run(engine: FakeEngine, state: Path) -> None:
    """A run must not fail at its start because somebody's orphans could not be looked for; it must say so."""
    engine.before = lambda _, path: (500, {"message": "disk is full"}) if path == "/containers/json" else None
    (told,) = sweep(state, daemon=engine.daemon).notes
    assert "disk is full" in told


def test_an_engine_without_orphans_is_only_listed(engine: FakeEngine, state: Path) -> None:
    """Where nothing is of an unknown environment, the sweep must only list."""
    assert sweep(state, daemon=engine.daemon) == Swept()
    assert {method for method, _ in engine.asked} == {"GET"}
    assert engine.did("GET") == ["/_ping", "/containers/json", "/networks", "/volumes"]
