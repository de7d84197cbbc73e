"""Containers, networks and volumes: found by label, removed when they are proven to be ours, and looked for again."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_engine import ENV, FITS, KEY, USER_KEY, FakeEngine, with_seal

from harness import clock
from harness.daemon import Api, Daemon
from harness.errors import ConfigError
from harness.ownership import ledger, objects, removal
from harness.ownership.identity import Owner, this_process
from harness.ownership.ledger import LedgerRecord, LedgerWriter
from harness.ownership.proof import SIZE, environment_key, user_key, user_keys
from harness.ownership.sweep import Swept, find_dead, forget, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONCE = "0123456789abcdef"
MINE = {objects.RUN: ENV, objects.NONCE: NONCE, objects.SCHEMA_LABEL: objects.SCHEMA, objects.SEAL: FITS}
COPIED = {**MINE, objects.NONCE: "another"}
LABEL = f"{objects.RUN}={ENV}"


CLAIM = objects.Claim(ENV, NONCE, KEY)
ours = CLAIM.holds


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
    assert [(str(owned), owned.id) for owned in found] == [
        ("container c1-name", "c1"),
        ("network n1-name", "n1"),
        ("volume v1", "v1"),
    ]
    assert [owned.id for owned in objects.find(api, objects.RUN) if owned.kind == "volume"] == ["v1", "v2"]


def test_a_copied_label_proves_nothing(engine: FakeEngine, api: Api) -> None:
    """What carries our run's label without its nonce must not be touched, and is nothing that is left."""
    engine.containers = {"c1": MINE, "theirs": COPIED}
    engine.networks = {"theirs": (COPIED, ["theirs"])}
    engine.volumes = {"theirs": (COPIED, [])}
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == ["/containers/c1"]
    assert (list(engine.containers), list(engine.networks), list(engine.volumes)) == (["theirs"],) * 3


def copies_of(labels: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return the labels of things that somebody else made with those of the container ``c1``, also changed."""
    original = with_seal("container", "c1-name", labels)
    return {
        "inherited": original,
        "of another nonce": {**original, objects.NONCE: "another"},
        "without a seal": {key: value for key, value in original.items() if key != objects.SEAL},
        "of the version before": {**original, objects.SEAL: "", objects.SCHEMA_LABEL: objects.UNSEALED},
    }


def test_what_has_all_our_labels_by_copy_is_not_ours(engine: FakeEngine, api: Api) -> None:
    """A container, network or volume with all labels of one of ours must not be touched: its name is another."""
    copies = copies_of(MINE)
    engine.containers = {"c1": MINE, **copies}
    engine.networks = {name: (labels, []) for name, labels in copies.items()}
    engine.volumes = {name: (labels, []) for name, labels in copies.items()}
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == ["/containers/c1"]


def test_a_seal_fits_one_kind_only(engine: FakeEngine, api: Api) -> None:
    """A volume or network with the labels and the very name of our container must not be taken for ours."""
    labels = with_seal("container", "c1-name", MINE)
    engine.networks, engine.volumes = {"c1": (labels, [])}, {"c1-name": (labels, [])}
    assert objects.remove_all(api, LABEL, ours) == []
    assert engine.did("DELETE") == []


def test_a_container_of_a_committed_image_is_not_ours_by_any_name(engine: FakeEngine, api: Api) -> None:
    """What was run from an image of our container, under that container's own name, must not be touched."""
    engine.containers = {"c1": MINE}
    engine.image_of, engine.images = {"c1": "sha256:1"}, {"sha256:1": with_seal("container", "c1-name", MINE)}
    assert objects.remove_all(api, LABEL, lambda thing: CLAIM.proves(api, thing)) == []
    assert list(engine.containers) == ["c1"]
    engine.images = {"sha256:1": {}}
    assert objects.remove_all(api, LABEL, lambda thing: CLAIM.proves(api, thing)) == []
    assert engine.containers == {}


def test_a_copy_in_our_network_stays_in_it_and_is_named(engine: FakeEngine, api: Api) -> None:
    """A container with copied labels must not be taken off our network as one of ours is."""
    engine.containers = {"mine": with_seal("container", "c1-name", MINE)}
    engine.networks = {"n1": (MINE, ["mine"])}
    left = objects.remove_all(api, LABEL, ours)
    assert left == ["network n1-name: it is used by container mine-name, not ours"]
    assert engine.did("POST") == []


def test_a_name_that_a_link_gives_is_not_a_containers_own() -> None:
    """The name by which an object is proven must be its own, not what a linked container calls it."""
    listed = {"Id": "c1", "Names": ["/other/alias", "/own"], "Labels": None}
    assert objects.as_object("container", listed) == objects.Object("container", "c1", "own", {})


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


def test_a_stranger_in_our_network_is_named_and_left_alone(
    engine: FakeEngine, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's container in our network must stay in it, and must be named at once as the reason."""
    engine.containers = {"stranger": {}}
    engine.networks = {"n1": (MINE, ["stranger"])}
    monkeypatch.setattr(objects, "VERIFY_BUDGET", 60.0)
    started = clock.now()
    left = objects.remove_all(api, LABEL, ours)
    assert left == ["network n1-name: it is used by container stranger-name, not ours"]
    assert clock.now() - started < 30
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


@pytest.fixture
def keys(tmp_path: Path) -> list[Path]:
    """Where this user's key is."""
    place = tmp_path / "key"
    place.touch(mode=0o600)
    place.write_bytes(USER_KEY)
    return [tmp_path / "none", place]


def write_ledger(state: Path, dead: Owner, daemon: Daemon, **more: str) -> Path:
    """Write the ledger of an environment of this user whose keeper is gone."""
    path = state / f"{ENV}{ledger.SUFFIX}"
    header: dict[str, Any] = {"env": ENV, "checkout": "/src", "engine": "compose", "socket": "nobody"}
    header |= {
        "folder": str(state / "run"),
        "owner": dead.as_dict(),
        "nonce": NONCE,
        "key": KEY,
        "daemon": daemon.as_dict(),
        **more,
    }
    path.write_text(json.dumps({"kind": "header", "schema": ledger.SCHEMA, **header}) + "\n")
    return path


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
        key=KEY,
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
            f"No such file or directory; if it is gone for good: `harness gc --forget {ENV}`"
        )
    ]
    assert record.path.exists()


def test_a_dead_runs_containers_are_swept(engine: FakeEngine, state: Path, dead: Owner) -> None:
    """The sweep must remove what a ledger of dead owners names, on the engine that it names, then the ledger."""
    path = write_ledger(state, dead, engine.daemon)
    engine.containers = {"c1": owner_labels(dead), "theirs": COPIED}
    assert sweep(state).lines() == [f"environment {ENV} of a dead run was cleared"]
    assert (list(engine.containers), path.exists()) == (["theirs"], False)


def test_orphans_of_a_dead_owner_are_swept(engine: FakeEngine, state: Path, dead: Owner, keys: list[Path]) -> None:
    """Where the ledger is lost, labels of an owner that is proven dead must be proof enough."""
    engine.containers = {"c1": owner_labels(dead)}
    engine.networks = {"n1": (owner_labels(dead), ["c1"])}
    engine.volumes = {"v1": (owner_labels(dead), [])}
    assert sweep(state, daemon=engine.daemon, keys=keys).lines() == [
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
    told = objects.remove_orphans(api, objects.Seeker(here, [USER_KEY], local=local), set())
    assert (len(told), list(engine.containers)) == (1 - len(left), left)


NOT_PROVEN_DEAD: dict[str, dict[str, Any]] = {
    "lives": {},
    "is another user's": {"uid": 4242, "start": 1},
    "is on another machine": {"machine": "another", "start": 1},
    "is in another process namespace": {"pidns": 1, "start": 1},
}


@pytest.mark.parametrize("name", NOT_PROVEN_DEAD)
def test_an_owner_that_may_live_keeps_its_things(engine: FakeEngine, state: Path, name: str, keys: list[Path]) -> None:
    """Nothing may be swept of an owner that lives, or of which that cannot be known here."""
    engine.containers = {"c1": owner_labels(replace(this_process(), **NOT_PROVEN_DEAD[name]))}
    assert sweep(state, daemon=engine.daemon, keys=keys) == Swept()
    assert (list(engine.containers), engine.did("DELETE")) == (["c1"], [])


NO_PROOF: dict[str, dict[str, str]] = {
    "no owner": {objects.OWNER: ""},
    "an owner in another form": {objects.OWNER: '{"pid": 1}'},
    "an owner that is no table": {objects.OWNER: "[]"},
    "another schema": {objects.SCHEMA_LABEL: "3"},
    "no nonce": {objects.NONCE: ""},
}


@pytest.mark.parametrize("name", NO_PROOF)
def test_labels_that_cannot_be_read_prove_nothing(
    engine: FakeEngine, state: Path, dead: Owner, name: str, keys: list[Path]
) -> None:
    """An orphan whose labels are not wholly ours must be left alone."""
    engine.containers = {"c1": {**owner_labels(dead), **NO_PROOF[name]}}
    assert sweep(state, daemon=engine.daemon, keys=keys) == Swept()
    assert list(engine.containers) == ["c1"]


def test_an_environment_with_a_ledger_is_no_orphan(
    engine: FakeEngine, state: Path, dead: Owner, keys: list[Path]
) -> None:
    """What a ledger names is its keeper's or the ledger's sweep's, even if its labels' owner is dead."""
    header = {"env": ENV, "checkout": "/src", "engine": "compose", "folder": "/nonexistent", "socket": "nobody"}
    writer = LedgerWriter(
        state / f"{ENV}{ledger.SUFFIX}",
        {**header, "owner": this_process().as_dict(), "nonce": NONCE, "daemon": engine.daemon.as_dict()},
    )
    engine.containers = {"c1": owner_labels(dead)}
    assert sweep(state, daemon=engine.daemon, keys=keys) == Swept()
    assert list(engine.containers) == ["c1"]
    writer.delete()


def test_orphans_that_stay_are_told(engine: FakeEngine, state: Path, dead: Owner, keys: list[Path]) -> None:
    """What is left of a lost environment must be told with its reason."""
    engine.containers = {"stranger": {}}
    engine.networks = {"n1": (owner_labels(dead), ["stranger"])}
    assert sweep(state, daemon=engine.daemon, keys=keys).lines() == [
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


def test_orphans_that_cannot_be_listed_stop_no_run(engine: FakeEngine, state: Path, keys: list[Path]) -> None:
    """A run must not fail at its start because somebody's orphans could not be looked for; it must say so."""
    engine.before = lambda _, path: (500, {"message": "disk is full"}) if path == "/containers/json" else None
    (told,) = sweep(state, daemon=engine.daemon, keys=keys).notes
    assert "disk is full" in told


def test_an_engine_without_orphans_is_only_listed(engine: FakeEngine, state: Path, keys: list[Path]) -> None:
    """Where nothing is of an unknown environment, the sweep must only list."""
    assert sweep(state, daemon=engine.daemon, keys=keys) == Swept()
    assert {method for method, _ in engine.asked} == {"GET"}
    assert engine.did("GET") == ["/_ping", "/containers/json", "/networks", "/volumes"]


# -- proofs ----------------------------------------------------------------------------------------------------------


def test_copies_of_a_dead_owners_labels_are_left_alone(
    engine: FakeEngine, state: Path, dead: Owner, keys: list[Path]
) -> None:
    """Without a ledger, what was copied from a container of a dead owner must stay, and ``gc`` must tell of it."""
    copies = copies_of(owner_labels(dead))
    engine.containers = {"c1": owner_labels(dead), **copies}
    found, notes = find_dead(state, engine.daemon, keys)
    assert [thing.things for thing in found] == [("container c1-name",)]
    assert len([note for note in notes if "nothing proves" in note and "left alone" in note]) == len(copies)
    (cleared,) = sweep(state, daemon=engine.daemon, keys=keys).environments
    assert (cleared.env, cleared.left, list(engine.containers)) == (ENV, (), list(copies))
    assert sweep(state, daemon=engine.daemon, keys=keys) == Swept()


def test_another_users_key_proves_nothing(engine: FakeEngine, state: Path, dead: Owner, tmp_path: Path) -> None:
    """Without a ledger, what this user's key has not sealed must stay."""
    engine.containers = {"c1": owner_labels(dead)}
    other = tmp_path / "other"
    assert user_key([other]) not in (b"", USER_KEY)
    assert sweep(state, daemon=engine.daemon, keys=[other]) == Swept()
    assert sweep(state, daemon=engine.daemon) == Swept()
    assert list(engine.containers) == ["c1"]


def test_a_ledger_needs_no_key_of_the_user(engine: FakeEngine, state: Path, dead: Owner) -> None:
    """What has its ledger must be swept by that alone, and copies be left alone, also where the user's key is lost."""
    write_ledger(state, dead, engine.daemon)
    copies = copies_of(owner_labels(dead))
    engine.containers = {"c1": owner_labels(dead), **copies}
    assert sweep(state).lines() == [f"environment {ENV} of a dead run was cleared"]
    assert list(engine.containers) == list(copies)


def test_the_ledger_of_the_version_before_is_swept_by_its_own_rule(
    engine: FakeEngine, state: Path, dead: Owner
) -> None:
    """A ledger without a key names things without seals: those with its nonce and the labels of that time must go."""
    write_ledger(state, dead, engine.daemon, key="")
    old = {**owner_labels(dead), objects.SCHEMA_LABEL: objects.UNSEALED}
    del old[objects.SEAL]
    engine.containers = {"c1": old, "theirs": {**old, objects.NONCE: "another"}, "new": owner_labels(dead)}
    assert sweep(state).lines() == [f"environment {ENV} of a dead run was cleared"]
    assert list(engine.containers) == ["theirs", "new"]


KEYS_OF_OTHERS: dict[str, Callable[[Path], object]] = {
    "nothing": str,
    "a folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a FIFO": os.mkfifo,
    "too short": lambda path: path.write_bytes(b"short"),
    "open to others": lambda path: path.write_bytes(USER_KEY),
}


@pytest.mark.parametrize("name", KEYS_OF_OTHERS)
def test_only_a_private_file_is_a_key(tmp_path: Path, name: str) -> None:
    """What is no private regular file of this user must not be read as a key; a usable place after it is taken."""
    first, second = tmp_path / "a" / "key", tmp_path / "b" / "key"
    first.parent.mkdir()
    KEYS_OF_OTHERS[name](first)
    if first.is_file() and not first.is_symlink():
        first.chmod(0o644 if name == "open to others" else 0o600)
    key = user_key([first, second])
    assert len(key) == SIZE
    assert key != USER_KEY
    assert user_keys([first, second]) == [key]
    assert user_key([first, second]) == key
    kept = first if name == "nothing" else second
    assert (kept.stat().st_mode & 0o777, list(kept.parent.iterdir())) == (0o600, [kept])


def test_all_who_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    """Of many that need a key at once, all must get one and the same."""
    place = tmp_path / "state" / "key"
    with ThreadPoolExecutor(16) as pool:
        got = set(pool.map(lambda _: user_key([place]), range(64)))
    assert got == {place.read_bytes()}


def test_without_any_place_for_a_key_each_environment_has_one_of_chance() -> None:
    """Where no key can be kept, environments must have keys all the same, which only their ledgers know."""
    assert user_key([Path("/proc/none/key"), Path("/dev/null/key")]) == b""
    assert environment_key(b"", ENV) != environment_key(b"", ENV)
    assert environment_key(USER_KEY, ENV) == KEY != environment_key(USER_KEY, "another")


# -- an engine that is gone ------------------------------------------------------------------------------------------


def test_an_engine_that_moved_is_found_by_what_it_has(
    engine: FakeEngine, state: Path, dead: Owner, tmp_path: Path
) -> None:
    """Where the ledger's engine is gone and the one in use has the environment's things, all must go."""
    path = write_ledger(state, dead, Daemon(f"unix://{tmp_path}/gone.sock", "a test"))
    engine.containers = {"c1": owner_labels(dead), "mine": with_seal("container", "c1-name", owner_labels(dead))}
    ((found,), _) = find_dead(state, engine.daemon)
    assert found.things == ("container c1-name",)
    assert sweep(state, daemon=engine.daemon).lines() == [f"environment {ENV} of a dead run was cleared"]
    assert (list(engine.containers), path.exists()) == (["mine"], False)


def test_an_engine_that_is_gone_is_told_once(engine: FakeEngine, state: Path, dead: Owner, tmp_path: Path) -> None:
    """Each look must count what an engine that is gone may still have, and only the first one has news of it."""
    path = write_ledger(state, dead, Daemon(f"unix://{tmp_path}/gone.sock", "a test"))
    path.write_text(path.read_text() + '{"kind": "ended", "p')  # torn when its keeper was killed
    sweeps = [sweep(state, daemon=engine.daemon) for _ in range(3)]
    assert [len(swept.uncleared) for swept in sweeps] == [1, 1, 1]
    assert [len(swept.news()) for swept in sweeps] == [1, 0, 0]
    assert f"`harness gc --forget {ENV}`" in sweeps[0].news()[0]


def test_what_is_forgotten_is_told_no_more(state: Path, dead: Owner, tmp_path: Path) -> None:
    """A dead environment whose engine is gone must be forgotten when asked, with what is left, and its ledger gone."""
    path = write_ledger(state, dead, Daemon(f"unix://{tmp_path}/gone.sock", "a test"))
    cleared = forget(state, ENV)
    assert (len(cleared.left), path.exists()) == (1, False)
    assert sweep(state) == Swept()


def test_only_a_dead_environment_is_forgotten(state: Path, tmp_path: Path) -> None:
    """One that may live, or that is not known, must not be forgotten; the nearest name must be told."""
    gone = Daemon(f"unix://{tmp_path}/gone.sock", "a test")
    path = write_ledger(state, this_process(), gone)
    with pytest.raises(ConfigError, match="not proven dead"):
        forget(state, ENV)
    with pytest.raises(ConfigError, match=rf"(?s)did you mean.*'{ENV}'"):
        forget(state, ENV[:-1])
    assert path.exists()


def test_what_lives_on_here_is_not_forgotten(state: Path, dead: Owner, tmp_path: Path) -> None:
    """An environment with a folder here that cannot be removed must keep its ledger: only an engine is forgotten."""
    path = write_ledger(state, dead, Daemon(f"unix://{tmp_path}/gone.sock", "a test"))
    (state / "run" / "work").mkdir(parents=True)
    assert f"folder {state}/run/work" in forget(state, ENV).left
    assert path.exists()
