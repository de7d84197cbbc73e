"""The containers, networks and volumes of an environment: found by label, removed by full id, then looked for again.

What proves that one is ours is in docs/architecture.md, "Containers".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness import procs
from harness.clock import Deadline, now, poll
from harness.daemon import NOT_THERE, query
from harness.errors import EngineUnreachableError, HarnessError
from harness.ownership.identity import Owner, is_proven_dead
from harness.ownership.proof import environment_key, is_seal, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.daemon import Api

SCHEMA, UNSEALED = "2", "1"  # until then nothing had a seal
SEAL = "harness.seal"
RUN, NONCE, STACK, OWNER = "harness.run", "harness.nonce", "harness.stack", "harness.owner"
CHECKOUT, CREATED, SCHEMA_LABEL = "harness.checkout", "harness.created", "harness.schema"
CHECKOUT_PATH = "harness.checkout.path"  # of images that are built
BUILT = "harness.built"  # of images that are built: their name without its tag
IMAGE = "harness.image"  # of a container: the name of its image, which is run by its id
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
KINDS = ("container", "network", "volume")  # in the order in which they are removed
VERIFY_BUDGET = 5.0
KILL_PATIENCE = 5.0  # seconds in which an engine is to kill a container


def labels_of(env: str, nonce: str, owner: Owner, checkout: str, **more: str) -> dict[str, str]:
    """Return the labels of what is made on an engine for an environment, whose keeper is ``owner``."""
    return {
        RUN: env,
        NONCE: nonce,
        OWNER: json.dumps(owner.as_dict()),
        CHECKOUT: hashlib.sha256(checkout.encode()).hexdigest()[:16],
        CREATED: f"{now():.3f}",
        SCHEMA_LABEL: SCHEMA,
        **more,
    }


def sealed(labels: Mapping[str, str], key: str, kind: str, name: str) -> dict[str, str]:
    """Return the labels of one object: those of its environment, and the seal that only fits it."""
    return {**labels, SEAL: seal(key, kind, name, labels)}


@dataclass(frozen=True)
class Object:
    """A labelled container, network or volume.

    Attributes:
        kind: container, network or volume.
        id: its full id; a volume's is its name.
        image: id of a container's image, "" of anything else.
    """

    kind: str
    id: str
    name: str
    labels: dict[str, str]
    image: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Claim:
    """What tells the objects of one environment from all others.

    Its labels carry ``nonce``, a random number; ``key`` seals them, "" in a ledger of a version that knew no seals.
    """

    env: str
    nonce: str
    key: str

    def holds(self, thing: Object) -> bool:
        """Return whether the labels of ``thing`` prove that it belongs to the environment."""
        labels = thing.labels
        if labels.get(RUN) != self.env or not self.nonce or labels.get(NONCE) != self.nonce:
            return False
        if not self.key:
            return labels.get(SCHEMA_LABEL) == UNSEALED
        return is_seal(labels.get(SEAL, ""), self.key, thing.kind, thing.name, labels)

    def proves(self, api: Api, thing: Object) -> bool:
        """Return the same, after asking whether a container has its labels from its image. Raises HarnessError."""
        return self.holds(thing) and not has_labels_of_image(api, thing)


def has_labels_of_image(api: Api, thing: Object) -> bool:
    """Return whether a container's seal is its image's, made of a container of ours: then it was run by somebody else.

    Raises EngineUnreachableError.
    """
    if not thing.image or SEAL not in thing.labels:
        return False
    reply = api.call("GET", f"/images/{quote(thing.image, safe=':')}/json")
    config = {} if reply.refusal else reply.document.get("Config") or {}
    return (config.get("Labels") or {}).get(SEAL) == thing.labels[SEAL]


def find(api: Api, label: str) -> list[Object]:
    """Return the objects with ``label`` (``key`` or ``key=value``), containers first. Raises HarnessError."""
    return [as_object(kind, listed) for kind in KINDS for listed in list_all(api, kind, label=[label])]


def as_object(kind: str, listed: dict[str, Any]) -> Object:
    """Return what the engine lists, or tells of one container, as an object."""
    names = listed.get("Names") or [listed.get("Name") or listed["Id"][:12]]
    own = next((name for name in names if "/" not in name[1:]), names[0])  # others are what links call it
    name = str(own).lstrip("/")
    labels = listed.get("Labels") or (listed.get("Config") or {}).get("Labels") or {}
    return Object(kind, listed.get("Id") or name, name, labels, listed.get("ImageID") or listed.get("Image") or "")


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
        final: whether trying again is of no use, because somebody else's container is in the way.
    """

    reason: str
    final: bool = False


def remove(api: Api, thing: Object, ours: Callable[[Object], bool]) -> Refusal | None:
    """Remove an object that was just listed, forced; return None or why it is still there.

    Ids of containers and networks are never used again and their labels never change, so the list is proof enough; a
    volume has only a name, and is asked once more.
    """
    path = f"/{thing.kind}s/{quote(thing.id, safe='')}"
    try:
        if thing.kind == "network":
            _disconnect(api, path, ours)
        elif thing.kind == "volume":
            volume = api.call("GET", path)
            if volume.refusal:
                return None if volume.status == NOT_THERE else Refusal(f"{thing}: {volume.refusal}")
            if not ours(as_object("volume", volume.document)):
                return Refusal(f"{thing}: its labels are not ours", final=True)
        how = {"container": "?" + query(v=True, force=True), "volume": "?" + query(force=True)}
        with killed_within(thing.id, KILL_PATIENCE) if thing.kind == "container" else contextlib.nullcontext():
            reply = api.call("DELETE", path + how.get(thing.kind, ""))
        if reply.status == NOT_THERE or not reply.refusal:
            return None
        users = _foreign_users(api, thing, ours)
    except EngineUnreachableError as error:
        return Refusal(f"{thing}: {error.summary}")
    if users:
        return Refusal(f"{thing}: it is used by {', '.join(users)}, not ours", final=True)
    return Refusal(f"{thing}: {reply.refusal}")


@contextlib.contextmanager
def killed_within(container: str, seconds: float) -> Iterator[None]:
    """Kill what runs in a container of ours after some seconds, unless the engine has done so, who is asked meanwhile.

    Engine 20.10 waits for a healthcheck that it could not end, and says nothing of that container until it has ended.
    What cannot be seen or signalled from here is left to the engine.
    """
    late = threading.Timer(seconds, procs.kill_in_container, (container,))
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def _disconnect(api: Api, network: str, ours: Callable[[Object], bool]) -> None:
    """Take our own containers, which live on in another stack, off a network."""
    reply = api.call("GET", network)
    for container in () if reply.refusal else reply.document.get("Containers") or ():
        facts = api.call("GET", f"/containers/{container}/json")
        if not facts.refusal and ours(as_object("container", facts.document)):
            api.call("POST", f"{network}/disconnect", {"Container": container, "Force": True})


def _foreign_users(api: Api, thing: Object, ours: Callable[[Object], bool]) -> list[str]:
    """Return whose containers, not ours, keep a network or volume from being removed."""
    if thing.kind == "container":
        return []
    try:
        # A stopped container is no hindrance to a network, but the filter finds both.
        users = [as_object("container", user) for user in list_all(api, "container", **{thing.kind: [thing.id]})]
    except HarnessError:
        return []
    return [str(user) for user in users if not ours(user)]


def remove_all(
    api: Api,
    label: str,
    ours: Callable[[Object], bool],
    *,
    where: Callable[[dict[str, str]], bool] = lambda _: True,
    settle: float = 0.0,
) -> list[str]:
    """Remove every object with ``label`` that is ours and ``where`` wants; look again until none is there.

    Args:
        api: the engine.
        label: what to list by.
        ours: tells whether an object may be touched.
        where: narrows the choice.
        settle: seconds to go on looking, for what a killed ``up`` had asked the engine for.

    Returns:
        What is left, in words.

    Raises:
        HarnessError: the engine did not say what there is.
    """
    things: list[Object] = []
    refused: dict[str, Refusal] = {}
    deadline, quiet = Deadline.after(VERIFY_BUDGET + settle), Deadline.after(settle)
    again = threading.Event()
    for turn in poll(deadline, wake=again):
        things = [thing for thing in find(api, label) if where(thing.labels) and ours(thing)]
        if (not things and quiet.expired()) or any(refused[thing.id].final for thing in things if thing.id in refused):
            break
        refused = {}
        for kind in KINDS:
            mine = [thing for thing in things if thing.kind == kind]
            if mine:
                with ThreadPoolExecutor(max_workers=min(8, len(mine))) as pool:
                    answers = pool.map(lambda thing: remove(api, thing, ours), mine)
                    refused |= {thing.id: no for thing, no in zip(mine, answers, strict=True) if no}
        if not turn and things and not refused:
            again.set()  # it should all be gone: look at once
    return [refused[thing.id].reason if thing.id in refused else f"{thing}: still there" for thing in things]


def owner_of(labels: dict[str, str]) -> Owner | None:
    """Return the owner that labels name, None when they name none that can be read."""
    try:
        return Owner.of(json.loads(labels[OWNER]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Orphans:
    """What has no ledger, and names an owner that is proven dead.

    Attributes:
        proven: environment -> what is sealed as ours.
        unproven: what only has such labels: a copy, something renamed, or of a version that knew no seals.
    """

    proven: Mapping[str, Sequence[Object]]
    unproven: Sequence[Object]


@dataclass(frozen=True)
class Seeker:
    """Who looks for orphans.

    Attributes:
        local: whether the engine is certainly on this machine. An owner of another boot is proven dead only there:
            elsewhere it may be a run on another machine, and machine ids are copied with images.
    """

    here: Owner
    keys: Sequence[bytes]
    local: bool

    def is_orphan(self, thing: Object) -> bool:
        """Return whether labels name an owner that is proven dead."""
        owner = owner_of(thing.labels)
        return (
            thing.labels.get(SCHEMA_LABEL) in (SCHEMA, UNSEALED)
            and bool(thing.labels.get(NONCE))
            and owner is not None
            and is_proven_dead(owner, self.here)
            and (owner.boot == self.here.boot or (self.local and bool(owner.machine)))
        )

    def is_ours(self, api: Api, thing: Object) -> bool:
        """Return whether an orphan is proven to be this user's. Raises HarnessError."""
        env, nonce = thing.labels.get(RUN, ""), thing.labels.get(NONCE, "")
        claims = (Claim(env, nonce, environment_key(key, env)) for key in self.keys)
        return self.is_orphan(thing) and any(claim.proves(api, thing) for claim in claims)


def find_orphans(api: Api, seeker: Seeker, known: set[str]) -> Orphans:
    """Return the orphans on an engine, but for environments with a ledger, which are ``known``. Raises HarnessError."""
    proven: dict[str, list[Object]] = {}
    unproven: list[Object] = []
    for thing in find(api, RUN):
        env = thing.labels.get(RUN, "")
        if env and env not in known and seeker.is_orphan(thing):
            if seeker.is_ours(api, thing):
                proven.setdefault(env, []).append(thing)
            else:
                unproven.append(thing)
    return Orphans(proven, unproven)


def remove_orphans(api: Api, seeker: Seeker, known: set[str]) -> dict[str, list[str]]:
    """Remove the proven orphans; return environment -> what is left of it, in words. Raises HarnessError."""
    return {
        env: remove_all(api, f"{RUN}={env}", lambda thing: seeker.is_ours(api, thing))
        for env in sorted(find_orphans(api, seeker, known).proven)
    }
