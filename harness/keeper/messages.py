"""What is said between a keeper and its clients: requests, their answers, and the facts of services.

On the wire each is one JSON object a line (``server``). A request is a frozen value; answers and facts are what their
JSON is. A field of a request that was left out has its default, so that a newer keeper understands an older client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, dataclass_transform

AnswerT = TypeVar("AnswerT")


if TYPE_CHECKING:  # to make these classes takes a start more than a millisecond
    from typing import NotRequired, Required, TypedDict

    class ServiceFacts(TypedDict):
        """What clients may know of a service.

        ``state`` is running, held, paused, exited or (a container's) created; ``under`` what ran when it ended, in
        words; ``log_start`` the size of its log when its present life began; ``container`` and ``health`` are "" of a
        process; ``pre_stop`` why its hook before its end failed, "" when it did not; ``began`` when its present life
        did, in seconds of the wall clock (an older keeper does not tell); ``cpu`` what a process that has ended took
        of a processor, in seconds.
        """

        stack: str
        service: str
        state: str
        pid: int
        start_time: int
        exit_code: int | None
        expected: bool
        under: str
        starts: int
        restarts: int
        log: str
        log_start: int
        container: str
        health: str
        oom: bool
        pre_stop: str
        began: NotRequired[float]
        cpu: NotRequired[float]

    class Event(ServiceFacts, total=False):
        """Something that happened, told unasked; of the engine itself there are no facts.

        ``event`` is started, exit, health, hook-failed, engine-lost or engine-back; ``record`` whether the client is
        the one of its run that writes it down.
        """

        event: Required[str]
        record: bool

    class StackFacts(TypedDict):
        """What clients may know of a stack; ``record`` is what its builder has said of it."""

        settled: bool
        includes: list[str]
        holders: list[str]
        record: dict[str, Any]

    class EnvironmentFacts(TypedDict):
        """What a client is told when it comes: the keeper's ``pid`` and ``start`` time, its loopback ``network``..."""

        env: str
        pid: int
        start: int
        network: str
        connection: str
        labels: dict[str, str]
        key: str
        engine_lost: bool

    class LedgerLines(TypedDict, total=False):
        """Where a ledger is, or should be, and its lines; nothing when it is deleted."""

        path: str
        lines: list[dict[str, Any]]

    class Leased(TypedDict):
        """``STACK/SERVICE`` -> address, and name -> port."""

        addresses: dict[str, str]
        ports: dict[str, int]

    class Fixed(TypedDict):
        """The ports that were claimed now; or the first that is taken (else 0), by which keeper and stack of ours."""

        new: list[int]
        taken: int
        pid: int
        stack: str

    class Acquired(TypedDict, total=False):
        """Whether the client is to build the stack; else what its builder has said of it."""

        build: bool
        record: dict[str, Any]

    class Downed(TypedDict):
        """What is left; the stacks that ``up`` keeps still, those that are there, and who holds something."""

        left: list[str]
        kept: list[str]
        stacks: list[str]
        held_by: list[str]

    class Ended(TypedDict):
        """What is left, and whether the environment ends."""

        left: list[str]
        ended: bool

    class Composed(TypedDict):
        """Compose's exit code, and service -> why the engine did not start it."""

        code: int | None
        refused: dict[str, str]

    class Refused(TypedDict):
        """Service -> why the engine did not start it."""

        refused: dict[str, str]

    class Hook(TypedDict):
        """A command that is run in a container; ``environment`` is as NAME=VALUE, and user and folder may be ""."""

        command: list[str]
        environment: list[str]
        user: str
        working_dir: str
        privileged: bool

    class Hooks(TypedDict):
        """What is run in a container after each start, and before it is asked to end."""

        post_start: list[Hook]
        pre_stop: list[Hook]

    class Explained(TypedDict, total=False):
        """What an engine knows of a container; nothing of a process, or when it was not asked."""

        oom: bool
        pid: int
        error: str
        restarts: int
        health: str
        health_log: list[str]
        memory: int

    class Listed(TypedDict):
        """All services that were started, and all stacks."""

        services: list[ServiceFacts]
        stacks: dict[str, StackFacts]

    class Spec(TypedDict):
        """A process to start; ``grace`` in seconds, ``stop`` a command that asks it to end, () for ``signal``.

        ``streams`` are named pipes that somebody has open at their other ends, for its standard input, output and
        error: then it has no log. ``mounts`` are absolute paths that it alone has -> the folder that is there.
        """

        argv: list[str]
        env: dict[str, str]
        cwd: str
        grace: float
        stop: list[str]
        signal: int
        hold: bool
        streams: NotRequired[list[str]]
        mounts: NotRequired[dict[str, str]]


@dataclass_transform(frozen_default=True)
class Request(Generic[AnswerT]):
    """Something that a client asks for: a frozen value of the fields that its class declares. ``vars`` are its JSON.

    It is no dataclass: to make the classes of all requests took a start 25 ms.

    Raises:
        TypeError: a field is missing, or there is none of that name.
    """

    do: ClassVar[str]
    brings_up: ClassVar[bool] = False
    """Whether it is of no use any more once a run is given up."""

    def __init__(self, *values: object, **named: object) -> None:
        names = type(self).__annotations__
        fields = dict(zip(names, values, strict=False)) | named
        wrong = [f"no field {name!r}" for name in fields if name not in names]
        wrong += [f"lacks {name!r}" for name in names if name not in fields and not hasattr(self, name)]
        if wrong:
            raise TypeError(f"Request {self.do!r}: {', '.join(wrong)}")
        vars(self).update(fields)


class Hello(Request["EnvironmentFacts"]):
    """Say who the client is; with ``lease`` it holds what it acquires until its process is gone.

    What clients share is held for their ``sponsor`` (pid, start time) as well; when that is the client itself, it takes
    over this hold. A client that is itself a service of the environment names its ``stack``: what it holds goes with
    that one, and keeps nothing up by itself.
    """

    do = "hello"
    pid: int
    start: int
    lease: bool
    sponsor: tuple[int, int] | None = None
    stack: str = ""


class Ledger(Request["LedgerLines"]):
    """Ask for the ledger."""

    do = "ledger"


class Lease(Request["Leased"]):
    """Ask for addresses of ``stack/service`` names and numbers of named ports; with ``anew`` other numbers."""

    do = "lease"
    services: list[str]
    ports: list[str]
    anew: bool = False


class FixPorts(Request["Fixed"]):
    """Say which ports of 127.0.0.1 a stack has, in place of those that it had: all of them are claimed, or none.

    They are the environment's until the stack is removed. None for a stack that is there changes nothing.
    """

    do = "fix-ports"
    brings_up = True
    stack: str
    ports: list[int]


class Acquire(Request["Acquired"]):
    """Hold a stack. The first one to ask is told to build it, others wait until it is settled.

    A client with a sponsor shares it with that sponsor's other clients to the sponsor's end; or has it ``alone``: they
    wait until it is given back, unless it is shared already.
    """

    do = "acquire"
    brings_up = True
    stack: str
    includes: list[str]
    alone: bool = False


class Settled(Request[None]):
    """Say, as its builder, that a stack is ready and seeded."""

    do = "settled"
    brings_up = True
    stack: str
    record: dict[str, Any]


class Release(Request[dict[str, list[str]]]):
    """Stop holding a stack; what nobody holds any more is removed and verified. ``left`` could not be, in words."""

    do = "release"
    stack: str


class Keep(Request[None]):
    """Let stacks (None: all that the client holds) stay without a run, until ``down`` or ``ttl`` seconds unused."""

    do = "keep"
    ttl: float
    stacks: list[str] | None = None


class Down(Request["Downed"]):
    """Stop keeping one stack, or all (""); what nobody holds any more is removed and verified."""

    do = "down"
    stack: str = ""


class AskGraces(Request[dict[str, float]]):
    """Ask how many ``seconds`` all services have to end when they are asked to, one stack after the other."""

    do = "graces"


class Goodbye(Request["Ended"]):
    """End a run: drop all its holds. A signal is in a hurry."""

    do = "goodbye"
    hurried: bool = False


class Start(Request["ServiceFacts"]):
    """Start a process."""

    do = "start"
    brings_up = True
    stack: str
    service: str
    spec: Spec


class TakeNetwork(Request[None]):
    """Hand over the environment's network, made by the run; None when the engine refused it."""

    do = "take_network"
    made: dict[str, str] | None


class JoinNetwork(Request[dict[str, str]]):
    """Ask for the network that a stack's containers join, which those of the stacks that it includes join too."""

    do = "network"
    brings_up = True
    stack: str
    services: list[str]


class Compose(Request["Composed"]):
    """Run Compose for a stack to its end.

    ``services`` is what it is about to make -> grace in seconds. ``start`` are those of what it has only created that
    the keeper then starts. ``hooks`` are of those services that have any.
    """

    do = "compose"
    brings_up = True
    stack: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    services: dict[str, float]
    start: list[str]
    hooks: dict[str, Hooks]


class StartCreated(Request["Refused"]):
    """Start services that Compose has created for a stack; each hook of theirs may take ``patience`` seconds."""

    do = "start_created"
    brings_up = True
    stack: str
    services: list[str]
    patience: float


class StopCompose(Request[None]):
    """End what Compose does for a stack, and what it has the keeper do: it is of no use any more."""

    do = "stop_compose"
    stack: str


class Explain(Request["Explained"]):
    """Ask what the engine knows of a container.

    With ``ask`` false the engine is not asked, which takes a tenth of a second; the log is complete all the same.
    """

    do = "explain"
    stack: str
    service: str
    ask: bool = True


class AskExposed(Request[dict[str, list[str]]]):
    """Ask for the bindings of containers that are not on loopback (``exposed``)."""

    do = "exposed"


class Services(Request["Listed"]):
    """Ask for the facts of all services and the state of all stacks."""

    do = "services"


class Look(Request[dict[str, bool]]):
    """Have it seen which services have ended, and told of it before this is answered.

    ``late`` says that the engine did not answer in time.
    """

    do = "look"


class Blame(Request[None]):
    """Note what ran when a service ended, for everybody who finds it so later on; who comes first knows best."""

    do = "blame"
    stack: str
    service: str
    under: str


class LogsSince(Request[dict[str, dict[str, int]]]):
    """Ask how large each log was some seconds ago; ``sizes`` is log -> bytes."""

    do = "logs_since"
    seconds: float


class End(Request[None]):
    """End services of a stack: ask each to by TERM, or with ``kill`` end it at once, and all that it has forked.

    With ``kill`` it is answered when they are gone.
    """

    do = "end"
    stack: str
    services: list[str]
    kill: bool = False


LOGS_UNTOUCHED = 1  # when /logs of a role was changed last, in seconds since 1970, while nothing was put into it


class CreateCell(Request[dict[str, str]]):
    """Make a container for each role of a cell, as the Engine API has them, and start none; the answer is their ids."""

    do = "create_cell"
    stack: str
    roles: dict[str, dict[str, Any]]


class StartRole(Request[None]):
    """Start a container that ``create_cell`` has made; whoever asks is attached to it."""

    do = "start_role"
    stack: str
    service: str
    container: str


class TakeStreams(Request[None]):
    """Have what the processes of a stack write in their logs: whoever has heard their streams hears them no more."""

    do = "take_streams"
    stack: str


class AskMounts(Request[dict[str, bool]]):
    """Ask whether a process may have ``mounts`` of its own here."""

    do = "mounts"


class Act(Request["ServiceFacts"]):
    """Do to one service what a test asks for: kill, stop, start, restart, pause, unpause, go."""

    do = "act"
    stack: str
    service: str
    act: str
    grace: float = 2.0


_REQUESTS: dict[str, type[Request[Any]]] = {request.do: request for request in Request.__subclasses__()}


def read_request(message: dict[str, Any]) -> Request[Any]:
    """Return the request that a line of JSON is. Raises KeyError and TypeError for one that makes no sense."""
    fields = {name: value for name, value in message.items() if name not in ("id", "do")}
    return _REQUESTS[message["do"]](**fields)
