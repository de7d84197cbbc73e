"""Names become addresses and container paths become local ones, so that one configuration serves every engine.

Pure text in, text out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from harness.artifacts import mapped_path
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.stack import Probe

_HOST_KEYS = r"(?:HOST|ADDR|ADDRESS|ADDR_LIST|SERVERS)"
_HOST_KEY = re.compile(rf"{_HOST_KEYS}$", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{(build|log|data|address|port:[^{}]+|mount:[^{}]+)\}")
_NAMED_PORT = re.compile(r"\{port:([^{}]+)\}")


def named_ports(text: str) -> list[str]:
    """Return the names of ``{port:NAME}`` placeholders, without those that are numbers: these are a service's own."""
    return [name for name in _NAMED_PORT.findall(text) if not name.isdigit()]


@dataclass(frozen=True)
class Names:
    """What the names in one service's texts stand for.

    Attributes:
        service: the service that the texts belong to.
        addresses: service -> its address, for all services that this one may name.
        ports: (service, declared port) -> (address, real port), by left and by right number.
        own_ports: declared port -> real port of this service.
        named: named ports of the environment.
        mounts: container path -> path here.
        values: values of ``{address}``, ``{data}``, ``{log}``, ``{build}``; those that do not apply are missing.
    """

    service: str
    addresses: Mapping[str, str]
    ports: Mapping[tuple[str, int], tuple[str, int]]
    own_ports: Mapping[int, int] = field(default_factory=dict)
    named: Mapping[str, int] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _alternatives(self) -> str:
        return "|".join(re.escape(name) for name in sorted(self.addresses, key=len, reverse=True)) or r"(?!)"

    @cached_property
    def _token(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w.\-])({self._alternatives}):(\d{{1,5}})(?![\w])")

    @cached_property
    def _line(self) -> re.Pattern[str]:
        return re.compile(
            # Within one line: the name of a service on the next line belongs to no key.
            rf"^([^\S\n]*[\w.\-]*(?i:{_HOST_KEYS})[^\S\n]*[=:][^\S\n]*[\"']?)({self._alternatives})([\"']?[^\S\n]*)$",
            re.MULTILINE,
        )

    @cached_property
    def _paths(self) -> re.Pattern[str]:
        # Paths that are already local are matched too, and kept: /tmp may be a mount and where the copies are.
        local = [path for path in (*self.mounts.values(), *self.values.values()) if path.startswith("/")]
        targets = "|".join(re.escape(path) for path in sorted({*self.mounts, *local}, key=len, reverse=True)) or r"(?!)"
        return re.compile(rf"(?<![\w./}}\-])({targets})(?![\w.\-])")

    def tokens(self, text: str) -> str:
        """Replace ``NAME:PORT`` of known services, and container paths of mounts."""

        def address(match: re.Match[str]) -> str:
            name, port = match[1], int(match[2])
            host, number = self.ports.get((name, port), (self.addresses[name], port))
            return f"{host}:{number}"

        text = self._token.sub(address, text)
        # To compile that pattern is half of what it takes to plan a service.
        return self._paths.sub(lambda match: self.mounts.get(match[1], match[1]), text) if self.mounts else text

    def value(self, key: str, text: str) -> str:
        """Render the value of an environment variable."""
        if _HOST_KEY.search(key) and text in self.addresses:
            return self.addresses[text]
        return self.tokens(text)

    def argument(self, text: str) -> str:
        """Render a word of a command; ``KEY=NAME`` counts as a value under a key."""
        key, equals, value = text.partition("=")
        if equals and _HOST_KEY.search(key) and value in self.addresses:
            return f"{key}={self.addresses[value]}"
        return self.tokens(text)

    def content(self, data: bytes) -> bytes:
        """Render a mounted file; one that is no text stays as it is."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        if "\0" in text:
            return data
        replaced = self._line.sub(lambda match: match[1] + self.addresses[match[2]] + match[3], text)
        return self.tokens(replaced).encode()

    def words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Render a command line of ``x-harness``. Raises ConfigError as ``placeholders`` does."""
        return tuple(self.argument(self.placeholders(word)) for word in words)

    def probe(self, probe: Probe) -> Probe:
        """Render the texts of a probe. Raises ConfigError as ``placeholders`` does."""
        if probe.exec is not None:
            return probe.model_copy(update={"exec": self.words(probe.exec)})
        if probe.file is not None:
            return probe.model_copy(update={"file": self.placeholders(probe.file)})
        if probe.log is not None:
            return probe.model_copy(update={"log": self.placeholders(probe.log, re.escape)})
        if probe.http:
            path = self.placeholders(probe.http.path)
            return probe.model_copy(update={"http": probe.http.model_copy(update={"path": path})})
        return probe

    def placeholders(self, text: str, quote: Callable[[str], str] = str) -> str:
        """Replace the placeholders of ``x-harness``, each by what ``quote`` makes of its value; other braces are text.

        Raises:
            ConfigError: one has no value here.
        """
        return _PLACEHOLDER.sub(lambda match: quote(self._value_of(match)), text)

    def _value_of(self, placeholder: re.Match[str]) -> str:
        kind, _, name = placeholder[1].partition(":")
        if kind == "mount":
            return self._mounted(name, placeholder[0])
        if kind == "port":
            if name.isdigit():
                if int(name) in self.own_ports:
                    return str(self.own_ports[int(name)])
                raise ConfigError(f"Service {self.service!r}: {placeholder[0]} names a port that it does not publish")
            return str(self.named[name])
        if kind not in self.values:
            raise ConfigError(f"Service {self.service!r}: {placeholder[0]} has no value on this engine")
        return self.values[kind]

    def _mounted(self, path: str, written: str) -> str:
        here = mapped_path(path, self.mounts)
        if here is not None:
            return here
        mounted = ", ".join(self.mounts) or "nothing"
        raise ConfigError(f"Service {self.service!r}: {written} is not mounted; mounted are: {mounted}")
