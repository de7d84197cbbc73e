"""Why a service is not ready, or has ended: what was observed goes in, sentences come out. Nothing is asked here."""

from __future__ import annotations

import difflib
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.helpers.http_plain import mask
from harness.last_words import cause_of, last_line
from harness.procs import describe_exit
from harness.refusals import missing_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.sockets import Listener

_NEAR = 0.5  # difflib's ratio of "bd" and "db"
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # of shells, and of Docker ("docker run", exit status)
_SIGNALLED = 128  # added to the number of a signal, by shells and by engines
_HOST_KEY = re.compile(r"(?:HOST|HOSTS|HOSTNAME|ADDR|ADDRESS|ADDR_LIST|SERVER|SERVERS|BROKER|BROKERS)$", re.IGNORECASE)
_LABEL = r"[A-Za-z](?:[\w-]*\w)?"
_IN_URL = re.compile(rf"[A-Za-z][\w+.-]*://(?:[^@/\s]*@)?({_LABEL})(?=[:/?,\s]|$)")
_WITH_PORT = re.compile(rf"(?<![\w./:@-])({_LABEL}):\d{{2,5}}(?![\w:])")
_IN_DSN = re.compile(rf"(?<!\S)host(?:name|addr)?=({_LABEL})(?=[\s,;]|$)")  # libpq's "host=db port=5432"
_UNRESOLVED = re.compile(
    r"name or service not known|nodename nor servname|temporary failure in name resolution|no such host"
    r"|name does not resolve|could not translate host name|enotfound|eai_again|unknownhostexception|unknown host"
    r"|unknown mysql server host|failed to resolve|could not resolve|getaddrinfo|no address associated",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"refused|nothing listens|accepted and closed|closed the connection|reset by peer|no answer|does not answer as"
)
_FAILED = re.compile(r"(?P<how>exit code -?\d+|signal \d+ \(\w+\)):? ?(?P<said>.*)", re.DOTALL)
_STATUS = re.compile(r"status (\d{3})\b")
_STATUS_SAYS = {
    401: "it wants a login",
    403: "it wants a login, or refuses this path",
    404: "wrong path?",
    405: "it wants another method",
}


@dataclass(frozen=True)
class Variables:
    """What a service was told about others.

    Attributes:
        texts: name of a variable (or "its command") -> value, as the stack file has it.
        services: the names of services that it can reach.
        others: further names that stand for something: hosts of its own, aliases.
    """

    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    services: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


NO_VARIABLES = Variables()


@dataclass(frozen=True)
class Seen:
    """A service whose probe did not hold in time, and what was seen of it then.

    Attributes:
        kind: the kind of the probe.
        observation: what the probe answered last, "" when it never did.
        history: what it answered before, oldest first.
        host: the address that the probe asks, "" when it asks none.
        port: the port that the service must listen on, as it sees itself; None when the probe asks none.
        listening: what it listens on, None when that cannot be seen.
        contained: whether it has a network of its own, in which only the port counts and loopback is its own.
        log: the last lines of its log.
        checks: what its last healthchecks said, as "exit code N: output".
        variables: what it was told about others.
    """

    kind: str
    observation: str = ""
    history: tuple[str, ...] = ()
    host: str = ""
    port: int | None = None
    listening: tuple[Listener, ...] | None = None
    contained: bool = False
    log: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    variables: Variables = NO_VARIABLES


@dataclass(frozen=True)
class Reason:
    """Why a service is not ready.

    Attributes:
        sentence: what is seen.
        hint: the next step; "" when more time may be all that is needed.
    """

    sentence: str
    hint: str = ""


def why_not_ready(seen: Seen) -> Reason:
    """Return what is seen of a service that is not ready, with what to do where more time would not help."""
    for reader in (_elsewhere, _by_status, _by_health, _by_command, _by_log, _by_broker):
        if reason := reader(seen):
            return reason
    sentence = seen.observation or "no probe answered"
    if seen.port is not None and _REFUSED.search(sentence) and seen.listening == ():
        sentence = f"{sentence.removesuffix(' in the container')}; it listens on no port"
    cause = unknown_host(seen.variables, seen.log) or mask(cause_of(seen.log))
    if cause and _REFUSED.search(seen.observation):
        return Reason(f"{cause}; {sentence}", "its log and its variables say why it is not ready")
    return Reason(sentence)


def why_ended(log: Sequence[str], variables: Variables = NO_VARIABLES) -> str:
    """Return what the last lines of a log, or a wrong name, say about a service's end; "" for nothing."""
    cause = mask(cause_of(log))
    unresolved = _UNRESOLVED.search(cause) if cause else None
    return (unknown_host(variables, log) if unresolved or not cause else "") or cause


def how_ended(code: int, *, contained: bool = False, known: bool = False) -> str:
    """Return an exit code in words. Of a container, as of a shell, 128 + N is how signal N is told.

    Args:
        code: as the engine or the kernel gives it.
        contained: whether it is a container's, whose signals are only told this way.
        known: whether the cause follows, so that what a code usually means needs not be said.
    """
    number = code - _SIGNALLED
    signals = {int(member): member.name for member in signal.Signals}
    if number in signals and contained:
        return describe_exit(-number)
    usual = {_NOT_FOUND: "command not found", _NOT_EXECUTABLE: "command cannot be executed"}
    meaning = "" if known else usual.get(code) or signals.get(number, "")
    return describe_exit(code) + (f" ({meaning})" if meaning else "")


# -- one reader for each kind of fault -------------------------------------------------------------------------------


def _elsewhere(seen: Seen) -> Reason | None:
    """It listens, and not where it is asked."""
    if seen.port is None or not seen.listening or not _REFUSED.search(seen.observation):
        return None
    same_port = [listener for listener in seen.listening if listener.port == seen.port]
    if any(_reached(listener, seen) for listener in same_port):
        return None
    if same_port:
        at = f"{same_port[0].host}:{seen.port}" if ":" not in same_port[0].host else str(same_port[0])
        if seen.contained:
            needed = f"0.0.0.0:{seen.port} was needed"
            return Reason(f"it listens on {at} only, which nobody outside its container can reach; {needed}", _ADDRESS)
        return Reason(f"it listens on {at} only, {seen.host}:{seen.port} was needed", _ADDRESS)
    ports = ", ".join(dict.fromkeys(str(listener) for listener in seen.listening[:4]))
    return Reason(f"nothing listens on {seen.port}; it listens on {ports}", _PORT)


_ADDRESS = "have it listen on every address, or, as a local process, on {address}"
_PORT = "see its `ports`, its probe and its own configuration: they must name one port"


def _reached(listener: Listener, seen: Seen) -> bool:
    if seen.contained:
        return not listener.host.startswith("127.") and listener.host != "::1"
    return seen.port is not None and listener.takes(seen.host, seen.port)


def _by_status(seen: Seen) -> Reason | None:
    """It answers HTTP, with one and the same wrong status."""
    last = _STATUS.search(seen.observation)
    if seen.kind != "http" or not last:
        return None
    statuses = {match[1] for line in (*seen.history, seen.observation) if (match := _STATUS.search(line))}
    meaning = _STATUS_SAYS.get(int(last[1]), "")
    if len(statuses) > 1 or not meaning:
        return None
    before, after = seen.observation[: last.end()], seen.observation[last.end() :]
    return Reason(f"{before} every time ({meaning}){after}", "see `path` and `status` of the probe")


def _by_health(seen: Seen) -> Reason | None:
    """It has a healthcheck, which cannot be run, fails or does not end."""
    if seen.kind != "healthy":
        return None
    check = seen.checks[-1] if seen.checks else seen.observation
    if missing := missing_program(check):
        return Reason(f"its healthcheck cannot be run: there is no {missing!r}", "see `healthcheck` in its stack file")
    if "exceeded timeout" in check or "no end in" in check:
        return Reason("its healthcheck does not end in its time", "see `timeout` of its healthcheck, and its command")
    if failed := _FAILED.search(check):
        lines = failed["said"].splitlines()
        words = mask(cause_of(lines) or last_line(lines)) or "it says nothing"
        unknown = unknown_host(seen.variables, seen.log)
        return Reason(
            f"its healthcheck fails with {failed['how']}: {words}{f'; {unknown}' if unknown else ''}", _HEALTH
        )
    return None


_HEALTH = "run the healthcheck's command by hand: `harness exec --service NAME -- ...`"


def _by_command(seen: Seen) -> Reason | None:
    """Its probe is a command that is not there."""
    if seen.kind == "exec" and (missing := missing_program(seen.observation)):
        return Reason(f"its probe cannot be run: there is no {missing!r} where it runs", "see `exec` of the probe")
    return None


def _by_log(seen: Seen) -> Reason | None:
    """Its probe waits for a line that does not come."""
    if seen.kind != "log":
        return None
    if not any(line.strip() for line in seen.log):
        return Reason(f"{seen.observation}: it wrote nothing", "see where it writes its log")
    if cause := unknown_host(seen.variables, seen.log) or mask(cause_of(seen.log)):
        return Reason(f"{seen.observation}: {cause}", "its log says why it is not ready")
    return Reason(f"{seen.observation}; its last line is {last_line(seen.log)!r}", "see `log` of the probe")


def _by_broker(seen: Seen) -> Reason | None:
    """It is a broker that sends its clients elsewhere."""
    if seen.kind == "kafka" and "broker advertises" in seen.observation:
        return Reason(
            seen.observation, "have it advertise ${HARNESS_HOST_NAME:-127.0.0.1}:${HARNESS_PORT_NAME_9092:-9092}"
        )
    return None


# -- names in variables ----------------------------------------------------------------------------------------------


def unknown_host(variables: Variables, log: Sequence[str] = ()) -> str:
    """Return which variable names a host that is not there, "" when none does.

    A name that nobody knows may be right: one of somebody else's, or no name of a host at all. So it counts when it is
    nearly the name of a service, or when the log says that a name cannot be resolved and has it.
    """
    unresolved = [line for line in log if _UNRESOLVED.search(line)]
    for key, text in variables.texts.items():
        for host in _hosts(key, text):
            if host in variables.services or host in variables.others or host == "localhost":
                continue
            near = difflib.get_close_matches(host, variables.services, n=1, cutoff=_NEAR)
            if near:
                return f"{key} names {host!r}; there is {near[0]!r}"
            if any(re.search(rf"\b{re.escape(host)}\b", line) for line in unresolved):
                names = ", ".join(sorted(variables.services))
                return f"{key} names {host!r}, which is no service; there are: {names}"
    return ""


def _hosts(key: str, text: str) -> Iterator[str]:
    """Yield the single words in a value that stand where a host does."""
    yield from _IN_URL.findall(text)
    yield from _WITH_PORT.findall(text)
    yield from _IN_DSN.findall(text)
    if _HOST_KEY.search(key):
        yield from (item for item in re.split(r"[\s,;]+", text) if re.fullmatch(_LABEL, item))
