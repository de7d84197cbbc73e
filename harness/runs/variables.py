"""Variables for tests and commands: ``[tool.harness.env]``, and where every port is. Texts in, texts out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import ConfigError, nearest
from harness.runs.known import endpoints_in, records_here
from harness.stack import by_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.config import Settings
    from harness.engine.plan import Endpoint
    from harness.runs.choice import Choice

WHERE = "[tool.harness.env]"
_KINDS: Mapping[str, Callable[[Endpoint], str]] = {
    "host": lambda end: end.host,
    "port": lambda end: str(end.port),
    "endpoint": str,
}
_PLACEHOLDER = re.compile(r"\{([a-z]+):([^{}:]*)(?::([^{}]*))?\}")


def variable_of(endpoint: str) -> str:
    """Return the name of the variable that has the address of ``SERVICE:PORT``."""
    return f"HARNESS_ENDPOINT_{re.sub(r'[^A-Z0-9]', '_', endpoint.upper())}"


def of_endpoints(endpoints: Mapping[str, str]) -> dict[str, str]:
    """Return ``HARNESS_ENDPOINT_<SERVICE>_<PORT>`` -> ``host:port``."""
    return {variable_of(name): address for name, address in endpoints.items()}


def resolve(templates: Mapping[str, str], whose: str, services: Mapping[str, Sequence[Endpoint]]) -> dict[str, str]:
    """Return the values of a table of variables.

    Args:
        templates: name -> text with ``{host:SERVICE}``, ``{port:SERVICE:PORT}`` and ``{endpoint:SERVICE:PORT}``; the
            port may be left out where the service publishes one.
        whose: whose services are meant, for errors.
        services: service -> its published ports.

    Raises:
        ConfigError: with every placeholder that stands for nothing.
    """
    problems: list[str] = []
    values = {}
    for name, text in templates.items():

        def value(match: re.Match[str], name: str = name) -> str:
            try:
                return _value(match, whose, services)
            except ConfigError as error:
                problems.append(f"{WHERE} {name}: {match[0]}: {error.summary}")
                return ""

        values[name] = _PLACEHOLDER.sub(value, text)
    if problems:
        raise ConfigError.of(problems)
    return values


def _value(match: re.Match[str], whose: str, services: Mapping[str, Sequence[Endpoint]]) -> str:
    kind, service, port = match.groups()
    if kind not in _KINDS:
        raise ConfigError(f"{kind!r} is not known; valid: {', '.join(_KINDS)}{nearest(kind, _KINDS)}")
    if service not in services:
        have = ", ".join(services) or "none"
        raise ConfigError(f"{whose} has no service {service!r}; it has: {have}{nearest(service, services)}")
    ends = services[service]
    published = ", ".join(str(end.left) for end in ends) or "none"
    if port is None:
        meant = {_KINDS[kind](end) for end in ends}
        if len(meant) == 1:
            return meant.pop()
        raise ConfigError(f"one published port was needed, or its number; service {service!r} publishes: {published}")
    end = by_number(ends).get(int(port)) if port.isdecimal() else None
    if end is None:
        raise ConfigError(
            f"service {service!r} of {whose} publishes no port {port or repr(port)}; it publishes: {published}"
        )
    return _KINDS[kind](end)


def stand_ins(templates: Mapping[str, str]) -> dict[str, str]:
    """Return values for where nothing is brought up, such as a list of tests: names that lead nowhere, never checked.

    Code that only reads its variables can be imported with them; ``.invalid`` is resolved by nobody (RFC 6761).
    """

    def value(match: re.Match[str]) -> str:
        host, port = f"{match[2]}.invalid", match[3] or "1"
        return {"host": host, "port": port}.get(match[1], f"{host}:{port}")

    return {name: _PLACEHOLDER.sub(value, text) for name, text in templates.items()}


def check(choice: Choice, stack: str) -> None:
    """Check before anything is started that every placeholder stands for something.

    Raises:
        ConfigError: one does not, or the stack cannot be planned.
        SkippedStack: a variable leaves out a service of the stack.
    """
    if choice.settings.env:
        _, planned = choice.check(choice.read(stack))
        resolve(choice.settings.env, f"stack {stack!r}", {service.service: service.endpoints for service in planned})


def of_kept(settings: Settings, say: Callable[[str], None]) -> dict[str, str]:
    """Return the project's variables with the endpoints of what is up; what cannot be told by these is said.

    Raises:
        ConfigError: nothing is up.
    """
    services, values = endpoints_in(records_here(settings)[0]), dict[str, str]()
    for name, text in (settings.env or {}).items():
        try:
            values |= resolve({name: text}, "what is up", services)
        except ConfigError as error:
            say(f"left out: {error.summary}")
    return values


def taken(values: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return the names of variables that the caller has set to something else, which they keep."""
    return [name for name, value in values.items() if environ.get(name, value) != value]


def told(names: Sequence[str]) -> str:
    """Return the line that says that variables keep the values of the caller."""
    keep = "keeps its value" if len(names) == 1 else "keep their values"
    return f"{', '.join(names)} {keep}: set already, which goes before {WHERE}"
