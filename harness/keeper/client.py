"""The run's side of the keeper: start one, or connect to one that lives, and talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
import traceback
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.artifacts import NO_ROOM
from harness.clock import Deadline, now, poll
from harness.daemon import Api
from harness.errors import BrokenStack, ConfigError, EngineUnreachableError, HarnessError
from harness.keeper.messages import AnswerT, AskGraces, Hello, Request
from harness.keeper.networks import Network, first_name, make_network
from harness.ownership.identity import RUN_COOKIE, SERVICE_COOKIE, Owner, this_process
from harness.ownership.locks import peer_of
from harness.ownership.objects import Claim, labels_of
from harness.ownership.proof import environment_key, user_key
from harness.ownership.removal import LOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.daemon import Daemon
    from harness.keeper.messages import Event

START_BUDGET = 10.0
ANSWER_BUDGET = 5.0  # in which a keeper that is well says hello, however busy the machine is
STOPPED_BUDGET = 1.0  # in which one that was stopped may go on
LOOKED_AFTER = 1.0  # without an answer it is looked whether it was stopped
NETWORK_BUDGET = 20.0
REMOVAL_BUDGET = 60.0  # seconds beyond the grace that services are given
_KINDS: dict[str, type[HarnessError]] = {
    kind.__name__: kind for kind in (BrokenStack, ConfigError, EngineUnreachableError)
}
_NOT_THE_KEEPERS = (procs.PARENT, RUN_COOKIE, SERVICE_COOKIE)  # by which it would be ended as somebody's
# Fork once more before anything heavy is imported: the keeper is then nobody's child whose end somebody must collect.
# It says its number at once: things are marked as its while it is still loading.
# At its end nothing is left to tidy, and the run waits for it: the interpreter is not taken apart, which takes 30 ms.
_BOOT = (
    "import os,sys\n"
    "if os.fork(): os._exit(0)\n"
    "os.write(int(sys.argv[4]), b'%d' % os.getpid())\n"
    "sys.path.insert(0, sys.argv.pop(1))\n"
    "from harness.keeper.main import main\n"
    "os._exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class EnvironmentId:
    """What a new environment is called and where it is.

    Attributes:
        state: folder of ledgers.
        folder: its folder under logs.
        checkout: real path of the project.
        networks: the private range that networks of containers are taken from.
        keys: where the key of this user may be, by which its containers, networks and volumes are sealed.
    """

    env: str
    state: Path
    folder: Path
    checkout: str
    engine: str
    daemon: Daemon | None = None
    networks: str = ""
    keys: tuple[Path, ...] = ()

    @property
    def socket(self) -> str:
        """The abstract socket name of its keeper."""
        return f"harness-{os.getuid()}-{self.env}"


class KeeperToBe:
    """A process that loads what a keeper needs, and is the one of an environment from when it is told to be.

    Until then it has made nothing and holds nothing. It ends when it is dismissed, and when this process is gone.
    """

    def __init__(self, wanted: EnvironmentId) -> None:
        self.wanted = wanted
        self._begun = False
        self._pid, self._start = 0, 0
        self._network: Future[Network] | None = None
        self._gives_up = threading.Event()
        header = {
            "env": wanted.env,
            "state": str(wanted.state),
            "folder": str(wanted.folder),
            "checkout": wanted.checkout,
            "engine": wanted.engine,
            "socket": wanted.socket,
            "daemon": wanted.daemon.as_dict() if wanted.daemon else None,
            "networks": wanted.networks,
        }
        self._said = os.memfd_create("harness-keeper")  # what it says before it has a log
        begin, self._begin = os.pipe()
        self._ack, ack = os.pipe()
        words = [str(Path(__file__).parents[2]), json.dumps(header), str(begin), str(ack)]
        try:
            # Whoever this run works for, the keeper is to outlive them all.
            env = {name: value for name, value in os.environ.items() if name not in _NOT_THE_KEEPERS}
            self._process = procs.spawn(
                [sys.executable, "-I", "-c", _BOOT, *words], env=env, output=self._said, pass_fds=[begin, ack]
            )
        except BaseException:
            _close(self._said, self._begin, self._ack)
            raise
        finally:
            _close(begin, ack)

    def begin(self, *, network: bool = False) -> None:
        """Tell it to be the keeper; ``wait`` tells when it is. Its folder is there.

        With ``network`` that of an environment with containers is made meanwhile, which takes the engine as long as a
        keeper takes to load. Should this process be killed before it has told of it, the keeper looks for it.
        """
        number, nonce = self._read(), os.urandom(16).hex()
        daemon = self.wanted.daemon if network else None
        if not number:
            return  # it is gone, which ``wait`` will see
        self._begun = True
        key = environment_key(user_key(self.wanted.keys), self.wanted.env) if self.wanted.daemon else ""
        with contextlib.suppress(BrokenPipeError):
            order = {"nonce": nonce, "key": key, "awaits_network": daemon is not None}
            os.write(self._begin, json.dumps(order).encode())
        self._pid = int(number)
        self._start = procs.start_time_of(self._pid) or 0
        if daemon:
            keeper = replace(this_process(), pid=self._pid, start=self._start)
            api, future = Api(daemon, within=NETWORK_BUDGET), Future[Network]()
            threading.Thread(
                target=self._make_network,
                args=(api, keeper, Claim(self.wanted.env, nonce, key), future),
                name="harness-first-network",
                daemon=True,
            ).start()
            self._network = future

    def _make_network(self, api: Api, keeper: Owner, claim: Claim, network: Future[Network]) -> None:
        wanted = self.wanted
        try:
            labels = labels_of(claim.env, claim.nonce, keeper, wanted.checkout)
            name = first_name(wanted.env)
            network.set_result(make_network(api, name, wanted.networks, claim, labels, self._gives_up.is_set))
        except Exception as error:  # noqa: BLE001 - told by ``network``
            network.set_exception(error)

    def network(self, within: float = NETWORK_BUDGET) -> dict[str, str] | None:
        """Return the environment's network once it is made; None when the engine refused, or none is made here.

        Raises:
            EngineUnreachableError: the engine did not answer. It may make it all the same.
        """
        if self._network is None:
            return None
        try:
            return self._network.result(within).as_dict()
        except TimeoutError:
            raise EngineUnreachableError(f"The engine did not make a network in {within:g} s") from None
        except EngineUnreachableError:
            raise
        except Exception:  # noqa: BLE001 - the keeper tries again, and tells it
            return None

    def give_up(self) -> None:
        """Ask the engine for no further network, should it refuse the one that it is asked for."""
        self._gives_up.set()

    def clear(self) -> None:
        """Remove the network that was made for a keeper that is gone; one that lives does that by itself."""
        self.give_up()
        if self.wanted.daemon and not procs.is_alive(self._pid, self._start):
            with contextlib.suppress(HarnessError):
                if network := self.network():
                    Api(self.wanted.daemon).call("DELETE", f"/networks/{network['id']}")

    def _read(self) -> bytes:
        """Return what it says next, b"" when it is gone or says nothing in time."""
        ready, _, _ = select.select([self._ack], [], [], START_BUDGET)
        return os.read(self._ack, 1 << 16) if ready else b""

    def wait(self) -> None:
        """Wait until it is the keeper and can be talked to.

        Raises:
            BrokenStack: it did not come up; its log says why.
        """
        began = now()
        try:
            answer = json.loads((self._begun and self._read()) or b"{}")
            written = b"" if "pid" in answer else os.pread(self._said, 1 << 16, 0)
        finally:
            self.dismiss()
        if "pid" in answer:
            return
        log = self.wanted.folder / LOG
        late = now() - began >= START_BUDGET
        seen = f"did not start in {START_BUDGET:g} s" if late else f"did not start: {answer.get('error', 'it ended')}"
        if answer.get("full"):
            raise BrokenStack(f"The keeper of {self.wanted.env} {seen}", hint=NO_ROOM)
        written += log.read_bytes() if log.is_file() else b""
        raise BrokenStack(
            f"The keeper of {self.wanted.env} {seen} ({log})",
            details=written.decode(errors="replace").splitlines()[-10:],
        )

    def dismiss(self) -> None:
        """Have it end, unless it was told to be the keeper; then it is gone. Safe to call twice."""
        if self._ack >= 0:
            _close(self._said, self._begin)
            while not self._begun and self._read():
                pass  # its end is the end of this pipe
            _close(self._ack)
            self._ack = -1
            with contextlib.suppress(procs.TimeoutExpired):
                self._process.wait(START_BUDGET)  # the one that forked it


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def start_keeper(wanted: EnvironmentId) -> None:
    """Start the keeper of a new environment and wait until it answers for it.

    Raises:
        BrokenStack: it did not come up; its log says why.
    """
    keeper = KeeperToBe(wanted)
    try:
        keeper.begin()
        keeper.wait()
    finally:
        keeper.dismiss()


def connect(name: str) -> tuple[socket.socket, int]:
    """Connect to the keeper that listens on an abstract socket; return the connection and the keeper's pid.

    Raises:
        HungKeeperError: the keeper is stopped, or so many wait for its answer already that nobody else can.
        BrokenStack: nobody listens there, or somebody of another user.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _enter(connection, name)
        pid, uid = peer_of(connection)
    except OSError as error:
        connection.close()
        raise BrokenStack(f"The keeper of {_env_of(name)} is gone ({error.strerror})") from error
    except BaseException:
        connection.close()
        raise
    if uid != os.getuid():
        connection.close()
        raise BrokenStack(f"Who listens as {name} (pid {pid}) is of user {uid}, not of you ({os.getuid()})")
    if not _goes_on(pid):
        connection.close()
        raise HungKeeperError(name, pid)
    return connection, pid


def _enter(connection: socket.socket, name: str) -> None:
    """Connect to a keeper, when there is room among those who wait for it (unix(7), EAGAIN).

    Raises:
        HungKeeperError: there was none in time.
        OSError: nobody listens there.
    """
    connection.settimeout(0)  # else it could wait for ever
    for _ in poll(Deadline.after(ANSWER_BUDGET)):
        with contextlib.suppress(BlockingIOError):
            connection.connect("\0" + name)
            connection.settimeout(None)
            return
    raise HungKeeperError(name, _keeper_of(name))


def _keeper_of(name: str) -> int:
    """Return which process of this user was started to listen under a name, 0 when none is seen."""
    for pid in procs.all_pids():
        with contextlib.suppress(OSError):
            asked = any(f'"socket": "{name}"' in word for word in procs.words_of(pid))
            if asked and Path(f"/proc/{pid}").stat().st_uid == os.getuid():
                return pid
    return 0


def _goes_on(pid: int) -> bool:
    """Return whether a process is not stopped, or has gone on after a moment: a stopped one cannot answer."""
    return any(procs.state_of(pid) not in procs.STOPPED for _ in poll(Deadline.after(STOPPED_BUDGET)))


def _env_of(name: str) -> str:
    """Return the environment whose keeper listens under a name."""
    return name.split("-", 2)[-1]


class UnansweredError(BrokenStack):
    """A keeper did not answer in time."""


class HungKeeperError(UnansweredError):
    """A keeper is there and does not answer.

    Attributes:
        pid: its process, 0 where it has no number here.
    """

    def __init__(self, name: str, pid: int) -> None:
        state = procs.state_of(pid) if pid else ""
        who = f" (pid {pid}, {state})" if pid else ""
        super().__init__(
            f"The keeper of {_env_of(name)}{who} does not answer",
            hint="`harness gc --hung` ends it and clears what it kept"
            + (f"; `kill -CONT {pid}` has it go on" if state in procs.STOPPED else ""),
        )
        self.pid = pid


class KeeperLink:
    """A connection to a keeper. Safe to use from several threads.

    Args:
        name: abstract socket name.
        lease: whether this process shall hold what it acquires; the keeper drops it all when the process is gone.
        sponsor: (pid, start time) of the process that this one works for, and that holds with it what is shared.
        stack: the one whose service this process is, "" when it is none: what it holds goes with that.
        on_event: called in the reader's thread with each event: what happened, and the facts of the service.
        on_lost: called there when the keeper itself is gone.

    Raises:
        HungKeeperError: the keeper does not answer.
        BrokenStack: nobody listens there, or somebody of another user.
    """

    def __init__(
        self,
        name: str,
        *,
        lease: bool,
        sponsor: tuple[int, int] | None = None,
        stack: str = "",
        on_event: Callable[[Event], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._socket, self.pid = connect(name)
        self._on_event, self._on_lost = on_event, on_lost
        self._lock = threading.Lock()
        # Each request waits for its own answer: of sixty that wait at once, an answer wakes one.
        self._waiting: dict[int, SimpleQueue[dict[str, Any] | None]] = {}
        self._bringing: set[int] = set()
        self._given_up = False
        self._sending = threading.Lock()
        self._number = 0
        self._closing = False
        self.lost = False
        self._reader = threading.Thread(target=self._read, name="harness-keeper-link", daemon=True)
        self._reader.start()
        start = procs.start_time_of(os.getpid()) or 0
        try:
            self.facts = self.ask(Hello(os.getpid(), start, lease, sponsor, stack), timeout=ANSWER_BUDGET)
        except UnansweredError:
            self.close()
            raise HungKeeperError(name, self.pid) from None
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        buffer = b""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "event" in message:
                    self._tell(message)
                elif waiting := self._waiting.get(message["id"]):
                    waiting.put(message)
        with self._lock:
            self.lost = True
            for waiting in self._waiting.values():
                waiting.put(None)
        if not self._closing:
            self._on_lost()

    def _tell(self, message: Event) -> None:
        try:
            self._on_event(message)
        except Exception:  # noqa: BLE001 - answers must go on being read; the mistake is shown where people look
            traceback.print_exc()

    def ask(self, request: Request[AnswerT], *, timeout: float = 30.0) -> AnswerT:
        """Send a request and return its answer.

        Raises:
            HungKeeperError: the keeper was stopped meanwhile.
            BrokenStack: the keeper is gone or did not answer in ``timeout`` seconds.
            HarnessError: the keeper refused, with its reason; of the kind that the keeper met.
        """
        do = request.do
        mine: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        with self._lock:
            if self.lost:
                raise BrokenStack(f"The keeper is gone, {do!r} was not done")
            if self._given_up and request.brings_up:
                raise BrokenStack(f"This run was given up, {do!r} was not done")
            self._number += 1
            number = self._number
            self._waiting[number] = mine
            if request.brings_up:
                self._bringing.add(number)
        try:
            line = json.dumps({"id": number, "do": do, **vars(request)}).encode() + b"\n"
            with self._sending:
                self._socket.sendall(line)
            answer = self._await(mine, timeout)
        except OSError as error:
            self.lost = True
            raise BrokenStack(f"The keeper is gone, {do!r} was not done") from error
        except Empty:
            raise UnansweredError(f"The keeper did not answer {do!r} in {timeout:g} s") from None
        finally:
            with self._lock:
                del self._waiting[number]
                self._bringing.discard(number)
        if answer is None:
            raise BrokenStack(f"{self._why_unanswered()}, {do!r} was not done")
        if "error" in answer:
            kind = _KINDS.get(str(answer.get("kind")), HarnessError)
            raise kind(str(answer["error"]))
        result: AnswerT = answer["ok"]
        return result

    def _await(self, answers: SimpleQueue[dict[str, Any] | None], timeout: float) -> dict[str, Any] | None:
        """Return the answer, or None for none to come. Raises Empty after ``timeout``, HungKeeperError before that."""
        deadline = Deadline.after(timeout)
        while True:
            try:
                return answers.get(timeout=min(LOOKED_AFTER, deadline.remaining()))
            except Empty:
                if not _goes_on(self.pid):
                    raise HungKeeperError(self._name, self.pid) from None
                if deadline.expired():
                    raise

    def _why_unanswered(self) -> str:
        return "The keeper is gone" if self.lost else "This run was given up"

    def give_up(self) -> None:
        """Wait no longer for what brings something up, in any thread, and ask for nothing more of that kind.

        The keeper ends what it does for this run when that gives it back.
        """
        with self._lock:
            self._given_up = True
            for number in self._bringing:
                self._waiting[number].put(None)

    def ask_to_remove(self, request: Request[AnswerT]) -> AnswerT:
        """Send a request that may end services; it is waited for as long as they all are given, and some more.

        Raises as ``ask`` does.
        """
        graces = self.ask(AskGraces())["seconds"]
        return self.ask(request, timeout=graces + REMOVAL_BUDGET)

    def wait_until_keeper_ended(self, timeout: float) -> bool:
        """Wait until the keeper's process is gone; return whether it is after ``timeout`` seconds."""
        return procs.wait_gone(self.facts["pid"], self.facts["start"], timeout)

    def close(self) -> None:
        """Close the connection; with it go a lease and all that it held."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=2)
