"""An IOC for one test, from a database file, without a stack. Needs the extra ``embedded`` (pvxslibs)."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness import procs
from harness.clock import Deadline, add_guard, poll, remove_guard
from harness.errors import BrokenStack, ConfigError
from harness.helpers.epics.client import Epics
from harness.helpers.epics.reading import refusal
from harness.keeper.addresses import Leases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STOP_BUDGET = 3.0
_KILL_BUDGET = 5.0
_LINES = 12  # of the IOC's output, in errors
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = itertools.count(1)


class Ioc(Epics):
    """An IOC of this test: a client of it, and what a test may do to it. Made by ``run_ioc``.

    Attributes:
        ca: ``host:port`` of its Channel Access server.
        pva: ``host:port`` of its pvAccess server.
        environment: what clients in other processes need to find it, and nothing else.
    """

    def __init__(self, database: Path, macros: str, leases: Leases, *, timeout: float) -> None:
        host = leases.address("ioc")
        ports = {name: str(leases.port(name)) for name in ("ca", "pva", "broadcast", "repeater")}
        self.ca, self.pva = f"{host}:{ports['ca']}", f"{host}:{ports['pva']}"
        super().__init__(ca=self.ca, pva=self.pva)
        self.environment = {
            "EPICS_CA_ADDR_LIST": self.ca,
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": ports["ca"],
            "EPICS_CA_REPEATER_PORT": ports["repeater"],
            "EPICS_PVA_ADDR_LIST": "",
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            "EPICS_PVA_NAME_SERVERS": self.pva,
            "EPICS_PVA_BROADCAST_PORT": ports["broadcast"],
            "EPICS_PVA_SERVER_PORT": ports["pva"],
        }
        # The broadcast port is bound on the wildcard address whatever is said here; it is this IOC's own.
        self._served = {
            "EPICS_CAS_INTF_ADDR_LIST": host,
            "EPICS_CAS_SERVER_PORT": ports["ca"],
            "EPICS_CAS_BEACON_ADDR_LIST": host,
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CA_REPEATER_PORT": ports["repeater"],
            "EPICS_PVAS_INTF_ADDR_LIST": host,
            "EPICS_PVAS_SERVER_PORT": ports["pva"],
            "EPICS_PVAS_BEACON_ADDR_LIST": host,
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_BROADCAST_PORT": ports["broadcast"],
        }
        self._database = database
        # -P: its folder may hold files that are named like modules. -m must stand before -d.
        self._argv = [sys.executable, "-P", "-m", "pvxslibs.ioc", *(["-m", macros] if macros else [])]
        self._argv += ["-d", str(database)]
        self._start_budget = timeout
        self._process: procs.Popen[bytes] | None = None
        self._input = -1
        # A file without a name: it goes away with the last process that has it open, and no pipe can fill up.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end

    @property
    def pid(self) -> int | None:
        """The number of its process, None while it is stopped."""
        return None if self._process is None else int(self._process.pid)

    def log(self) -> str:
        """Return what it has written."""
        size = os.fstat(self._log.fileno()).st_size
        return _COLOUR.sub("", os.pread(self._log.fileno(), size, 0).decode(errors="replace"))

    def start(self) -> None:
        """Start it and wait until both servers answer; nothing while it runs.

        Raises:
            BrokenStack: it ended, or does not serve in time; with its last lines.
        """
        if self._process is not None:
            return
        self._disconnect()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EPICS_", "PVXS_"))}
        # Its shell ends with its input: with this process, whatever ends that, the kernel closes our end.
        read, self._input = os.pipe()
        begin = os.fstat(self._log.fileno()).st_size
        try:
            self._process = procs.spawn(
                self._argv, env={**kept, **self._served}, cwd=self._database.parent, stdin=read, output=self._log
            )
        finally:
            os.close(read)
        try:
            self._wait_until_serving(begin)
        except BaseException:
            self.kill()
            raise

    def _wait_until_serving(self, begin: int) -> None:
        deadline = Deadline.after(self._start_budget)
        missing = ""
        for _ in poll(deadline):
            self.check()
            text = os.pread(self._log.fileno(), 1 << 20, begin)
            missing = "" if b"IOC Running" in text else "it does not say 'IOC Running'"
            missing = missing or refusal(self.ca, deadline) or refusal(self.pva, deadline)
            if not missing:
                return
        raise BrokenStack(
            f"IOC {self._database.name} did not serve in {self._start_budget:g} s: {missing}",
            service=self._database.name,
            details=self._tail(),
        )

    def check(self) -> None:
        """Do nothing while it runs, or was stopped by the test. Raises BrokenStack when it has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise BrokenStack(
                f"IOC {self._database.name} ended by itself with {procs.describe_exit(code)}",
                service=self._database.name,
                exit_code_seen=code,
                details=self._tail(),
            )

    def _tail(self) -> list[str]:
        return [f"  | {line}" for line in self.log().splitlines()[-_LINES:]]

    def stop(self) -> None:
        """End it as its shell does with "exit", or else kill it; twice is no error."""
        # Forgotten first: a wait in another thread must not take it for one that ended by itself.
        process, self._process = self._process, None
        self._close_input()
        if process is not None:
            try:
                process.wait(_STOP_BUDGET)
            except procs.TimeoutExpired:
                _kill(process)

    def kill(self) -> None:
        """Kill it at once; connections break as they do when a machine fails. Twice is no error."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
        self._close_input()

    def restart(self) -> None:
        """Stop and start it: records have their initial values again. Raises BrokenStack."""
        self.stop()
        self.start()

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def _end(self) -> None:
        try:
            self.close()
        finally:
            self.stop()
            self._log.close()


def _kill(process: procs.Popen[bytes]) -> None:
    procs.kill_group(process.pid, signal.SIGKILL)
    process.wait(_KILL_BUDGET)


@contextlib.contextmanager
def run_ioc(database: str | Path, *, macros: Mapping[str, str] | None = None, timeout: float = 20.0) -> Iterator[Ioc]:
    """Run an IOC with the records of a database file for a ``with`` block.

    It has a loopback address and ports of its own, so that any number can run side by side. When it ends by itself,
    every wait of this context ends at once. It ends with the block, or with this process.

    Args:
        database: the ``.db`` file; files that it includes are looked for beside it.
        macros: macro name -> value.
        timeout: seconds that it may take to serve.

    Raises:
        ConfigError: there is no such file, a macro cannot be passed on, or pvxslibs is missing.
        BrokenStack: it ended or did not serve in time; with its last lines.
    """
    path = Path(database).absolute()
    if not path.is_file():
        raise ConfigError(f"Database {database} is no file, an IOC needs one")
    if importlib.util.find_spec("pvxslibs") is None:
        raise ConfigError("run_ioc needs pvxslibs", hint="pip install 'integration-harness[embedded,epics]'")
    words = _macros(macros or {})
    with contextlib.closing(Leases(f"ioc-{os.getpid()}-{next(_NUMBER)}")) as leases:
        ioc = Ioc(path, words, leases, timeout=timeout)
        try:
            ioc.start()
            add_guard(ioc.check)
            yield ioc
        finally:
            remove_guard(ioc.check)
            ioc._end()  # noqa: SLF001 - for this function only: a test stops it


def _macros(macros: Mapping[str, str]) -> str:
    """Return ``NAME="value",...`` (macLib of EPICS Base)."""
    for name, value in macros.items():
        if not name.isidentifier() or set(value) & set("\"'\\\n"):
            raise ConfigError(f"Macro {name}={value!r} cannot be passed to an IOC: no quotes, backslashes or newlines")
    return ",".join(f'{name}="{value}"' for name, value in macros.items())
