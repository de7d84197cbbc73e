"""The containers, networks and volumes of an environment: found by label, removed by full id, then looked for again.

Nothing is removed by name. An object is ours when its labels carry the environment's id *and* the nonce that only its
ledger knows; without a ledger, when its labels name an owner of this user and machine that is proven dead.
"""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.clock import Deadline, now, poll
from harness.daemon import NOT_THERE, query
from harness.errors import EngineUnreachableError, HarnessError
from harness.ownership.identity import Owner, is_proven_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.daemon import Api

SCHEMA = "1"
RUN, NONCE, STACK, OWNER = "harness.run", "harness.nonce", "harness.stack", "harness.owner"
CHECKOUT, CREATED, SCHEMA_LABEL = "harness.checkout", "harness.created", "harness.schema"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
VERIFY_BUDGET = 5.0


def labels_of(env: str, nonce: str, owner: Owner, checkout: str, **more: str) -> dict[str, str]:
    """Return the labels of what is made on an engine for an environment.

    Args:
        env: its id.
        nonce: the random number that only its ledger knows.
        owner: its keeper.
        checkout: real path of its project.
        more: further labels.
    """
    return {
        RUN: env,
        NONCE: nonce,
        OWNER: json.dumps(owner.as_dict()),
        CHECKOUT: hashlib.sha256(checkout.encode()).hexdigest()[:16],
        CREATED: f"{now():.3f}",
        SCHEMA_LABEL: SCHEMA,
        **more,
    }


@dataclass(frozen=True)
class Object:
    """A labelled container, network or volume.

    Attributes:
        kind: container, network or volume.
        id: its full id; a volume's is its name.
        name: for people.
        labels: its labels.
    """

    kind: str
    id: str
    name: str
    labels: dict[str, str]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def find(api: Api, label: str, kinds: Iterable[str] = ("container", "network", "volume")) -> list[Object]:
    """Return the objects with ``label`` (``key`` or ``key=value``), containers first. Raises HarnessError."""
    found: list[Object] = []
    for kind in kinds:
        found += [_object(kind, one) for one in list_all(api, kind, label=[label])]
    return found


def _object(kind: str, listed: dict[str, Any]) -> Object:
    name = str(next(iter(listed.get("Names") or ()), listed.get("Name") or listed["Id"][:12])).lstrip("/")
    return Object(kind, listed.get("Id") or name, name, listed.get("Labels") or {})


def list_all(api: Api, kind: str, **filters: list[str]) -> list[dict[str, Any]]:
    """Return what the engine lists of one kind. Raises HarnessError."""
    more = {"all": True} if kind == "container" else {}
    path = "/containers/json" if kind == "container" else f"/{kind}s"
    listed = api.request("GET", f"{path}?{query(filters=filters, **more)}")
    return (listed.get("Volumes") if kind == "volume" else listed) or []


@dataclass(frozen=True)
class Refusal:
    """Why an object is still there.

    Attributes:
        reason: in words.
        final: whether trying again is of no use, because somebody else's container is in the way.
    """

    reason: str
    final: bool = False


def remove(api: Api, one: Object, ours: Callable[[dict[str, str]], bool]) -> Refusal | None:
    """Remove an object that was just listed, forced; return None or why it is still there.

    Ids of containers and networks are never used again and their labels never change, so the list is proof enough; a
    volume has only a name, and is asked once more.
    """
    path = f"/{one.kind}s/{quote(one.id, safe='')}"
    try:
        if one.kind == "network":
            _disconnect(api, path, ours)
        elif one.kind == "volume":
            told = api.call("GET", path)
            if told.refusal:
                return None if told.status == NOT_THERE else Refusal(f"{one}: {told.refusal}")
            if not ours(told.document.get("Labels") or {}):
                return Refusal(f"{one}: its labels are not ours", final=True)
        how = {"container": "?" + query(v=True, force=True), "volume": "?" + query(force=True)}
        reply = api.call("DELETE", path + how.get(one.kind, ""))
        if reply.status == NOT_THERE or not reply.refusal:
            return None
        users = _foreign_users(api, one, ours)
    except EngineUnreachableError as error:
        return Refusal(f"{one}: {error.summary}")
    if users:
        return Refusal(f"{one}: it is used by {', '.join(users)}, not ours", final=True)
    return Refusal(f"{one}: {reply.refusal}")


def _disconnect(api: Api, network: str, ours: Callable[[dict[str, str]], bool]) -> None:
    """Take our own containers, which live on in another stack, off a network."""
    told = api.call("GET", network)
    for container in () if told.refusal else told.document.get("Containers") or ():
        facts = api.call("GET", f"/containers/{container}/json")
        if not facts.refusal and ours(facts.document["Config"]["Labels"] or {}):
            api.call("POST", f"{network}/disconnect", {"Container": container, "Force": True})


def _foreign_users(api: Api, one: Object, ours: Callable[[dict[str, str]], bool]) -> list[str]:
    """Return whose containers, not ours, keep a network or volume from being removed."""
    if one.kind == "container":
        return []
    try:
        # A stopped container is no hindrance to a network, but the filter finds both.
        users = [_object("container", user) for user in list_all(api, "container", **{one.kind: [one.id]})]
    except HarnessError:
        return []
    return [str(user) for user in users if not ours(user.labels)]


def remove_all(
    api: Api,
    label: str,
    ours: Callable[[dict[str, str]], bool],
    *,
    kinds: Iterable[str] = ("container", "network", "volume"),
    where: Callable[[dict[str, str]], bool] = lambda _: True,
    settle: float = 0.0,
) -> list[str]:
    """Remove every object with ``label`` that is ours and ``where`` wants; look again until none is there.

    Args:
        api: the engine.
        label: what to list by.
        ours: tells by labels whether an object may be touched.
        kinds: what to look for, in this order.
        where: narrows the choice.
        settle: seconds to go on looking, for what a killed ``up`` had asked the engine for.

    Returns:
        What is left, in words.

    Raises:
        HarnessError: the engine did not say what there is.
    """
    found: list[Object] = []
    refused: dict[str, Refusal] = {}
    deadline, quiet = Deadline.after(VERIFY_BUDGET + settle), Deadline.after(settle)
    again = threading.Event()
    for turn in poll(deadline, wake=again):
        found = [one for one in find(api, label, kinds) if ours(one.labels) and where(one.labels)]
        if (not found and quiet.expired()) or any(refused[one.id].final for one in found if one.id in refused):
            break
        refused = {}
        for kind in kinds:
            mine = [one for one in found if one.kind == kind]
            if mine:
                with ThreadPoolExecutor(max_workers=min(8, len(mine))) as pool:
                    answers = pool.map(lambda one: remove(api, one, ours), mine)
                    refused |= {one.id: no for one, no in zip(mine, answers, strict=True) if no}
        if not turn and found and not refused:
            again.set()  # it should all be gone: look at once
    return [refused[one.id].reason if one.id in refused else f"{one}: still there" for one in found]


def owner_of(labels: dict[str, str]) -> Owner | None:
    """Return the owner that labels name, None when they name none that can be read."""
    try:
        return Owner(**json.loads(labels[OWNER]))
    except (KeyError, TypeError, ValueError):
        return None


def _dead_owners(here: Owner, *, local: bool) -> Callable[[dict[str, str]], bool]:
    """Return what tells by labels whether an object is ours and its owner proven dead.

    Args:
        here: the calling process.
        local: whether the engine is certainly on this machine. An owner of another boot is proven dead only there:
            elsewhere it may be a run on another machine, and machine ids are copied with images.
    """

    def ours(labels: dict[str, str]) -> bool:
        owner = owner_of(labels)
        return (
            labels.get(SCHEMA_LABEL) == SCHEMA
            and bool(labels.get(NONCE))
            and owner is not None
            and is_proven_dead(owner, here)
            and (owner.boot == here.boot or (local and bool(owner.machine)))
        )

    return ours


def find_orphans(api: Api, here: Owner, known: set[str], *, local: bool) -> dict[str, list[Object]]:
    """Return environment -> what carries our labels, is in no ledger of ``known``, and whose owner is proven dead.

    Raises HarnessError.
    """
    ours = _dead_owners(here, local=local)
    found: dict[str, list[Object]] = {}
    for one in find(api, RUN):
        env = one.labels.get(RUN, "")
        if env and env not in known and ours(one.labels):
            found.setdefault(env, []).append(one)
    return found


def remove_orphans(api: Api, here: Owner, known: set[str], *, local: bool) -> dict[str, list[str]]:
    """Remove what ``find_orphans`` finds; return environment -> what is left of it, in words. Raises HarnessError."""
    ours = _dead_owners(here, local=local)
    return {env: remove_all(api, f"{RUN}={env}", ours) for env in sorted(find_orphans(api, here, known, local=local))}
