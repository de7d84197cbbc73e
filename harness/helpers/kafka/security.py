"""How to log in to a broker, and the one-line form in which services are told of a broker and a topic."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ConfigError, nearest

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_FORM = "[PROTOCOL[+MECHANISM]\\][user@]host:port[,host:port...]/topic"
# https://kafka.apache.org/documentation/#brokerconfigs: what a topic's name may be made of, at most 249 of it.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LAST_PORT = 65535


class _Secret(str):
    """Text that no traceback shows: its repr, and so that of whatever holds it, hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Security:
    """How a client and a broker prove to each other who they are.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with the SASL protocols.
        user: whom to log in as, with the SASL protocols.
        password: the user's password; no repr shows it.
        ca_file: PEM file of the authorities that the broker's certificate is checked against; None for this machine's.
        certificate_file: PEM file of the client's own certificate, where the broker wants one.
        key_file: PEM file of its private key.
        check_host: whether the certificate must be for the host that was connected to.

    Raises:
        ConfigError: values that do not go together; all of them are listed.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | str | None = None
    certificate_file: Path | str | None = None
    key_file: Path | str | None = None
    check_host: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "password", _Secret(self.password or ""))
        problems = _mismatches(self.protocol, self.mechanism, self.user)
        if self.protocol.startswith("SASL_") and not self.password:
            problems.append(f"Kafka security: protocol {self.protocol} needs a password, there is none")
        files = {name: getattr(self, name) for name in ("ca_file", "certificate_file", "key_file")}
        written = {name: path for name, path in files.items() if path is not None}
        if written and not self.protocol.endswith("SSL"):
            problems.append(f"Kafka security: {', '.join(written)} needs SSL or SASL_SSL, protocol is {self.protocol}")
        problems += [
            f"Kafka security: {name} {path} does not exist"
            for name, path in written.items()
            if not Path(path).is_file()
        ]
        if ("certificate_file" in written) != ("key_file" in written):
            problems.append("Kafka security: certificate_file and key_file go together, one is missing")
        if problems:
            raise ConfigError.of(problems)

    def __str__(self) -> str:
        who = f" as user {self.user!r} with {self.mechanism}" if self.mechanism else ""
        return f"{self.protocol}{who}"

    def settings(self) -> dict[str, object]:
        """Return the client library's settings for it.

        https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
        """
        options: dict[str, object] = {"security.protocol": self.protocol}
        if self.mechanism:
            options |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user, "sasl.password": self.password}
        if self.protocol.endswith("SSL"):
            options["ssl.endpoint.identification.algorithm"] = "https" if self.check_host else "none"
        for name, path in (
            ("ssl.ca.location", self.ca_file),
            ("ssl.certificate.location", self.certificate_file),
            ("ssl.key.location", self.key_file),
        ):
            if path is not None:
                options[name] = str(path)
        return options


def _mismatches(protocol: str, mechanism: str, user: str) -> list[str]:
    """Return what does not go together, as sentences."""
    if protocol not in PROTOCOLS:
        valid = f"{', '.join(PROTOCOLS)}{nearest(protocol, PROTOCOLS)}"
        return [f"Kafka security: protocol {protocol!r} is not known; valid: {valid}"]
    problems = []
    if mechanism and mechanism not in MECHANISMS:
        problems.append(
            f"Kafka security: mechanism {mechanism!r} is not known; valid: {', '.join(MECHANISMS)}"
            f"{nearest(mechanism, MECHANISMS)}"
        )
    for name, value in (("mechanism", mechanism), ("user", user)):
        if protocol.startswith("SASL_") and not value:
            problems.append(f"Kafka security: protocol {protocol} needs a {name}, there is none")
        if not protocol.startswith("SASL_") and value:
            problems.append(f"Kafka security: protocol {protocol} takes no {name}, {value!r} was given")
    return problems


@dataclass(frozen=True)
class BrokerUri:
    r"""A broker and a topic, as services are told of them: ``SASL_SSL+SCRAM-SHA-256\user@host:9093/topic``.

    Attributes:
        bootstrap: ``host:port``, several with commas.
        topic: the topic.
        protocol: PLAINTEXT when the text names none.
        mechanism: the SASL mechanism, "" without.
        user: the user, "" without.
    """

    bootstrap: str
    topic: str
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""

    def security(self, password: str = "", *, ca_file: Path | str | None = None) -> Security:
        """Return it with what such a text does not hold. Raises ConfigError when that is not enough."""
        return Security(self.protocol, self.mechanism, self.user, password, ca_file)

    def __str__(self) -> str:
        plus = f"+{self.mechanism}" if self.mechanism else ""
        head = f"{self.protocol}{plus}\\" if self.protocol != "PLAINTEXT" else ""
        return f"{head}{self.user}{'@' if self.user else ''}{self.bootstrap}/{self.topic}"


def parse_uri(text: str) -> BrokerUri:
    r"""Return what ``host:port/topic``, ``//host:port/topic`` or ``PROTOCOL+MECHANISM\user@host:port/topic`` says.

    Several brokers stand with commas between them: ``a:9092,b:9092/topic``. The host is a name or an IPv4 address.

    Raises:
        ConfigError: the text is none of these, or its parts do not go together; a password in it is not repeated.
    """
    # At once: which parts of the text are a password is not known when it may hold any of the characters below.
    if ":" in text.rpartition("@")[0]:
        shown = f"{text.partition(':')[0]}:***@{text.rpartition('@')[2]}"
        raise ConfigError(
            f"Broker URI {shown!r}: a password does not belong into a URI, which logs and process lists show"
        )
    uri = f"Broker URI {text!r}"
    head, backslash, rest = text.rpartition("\\")
    protocol, plus, mechanism = head.partition("+")
    if (backslash and not protocol) or (plus and not mechanism):
        raise ConfigError(f"{uri}: no protocol or mechanism before '\\'; needed: {_FORM}")
    user, at, place = rest.removeprefix("//").rpartition("@")
    hosts, slash, topic = place.partition("/")
    problems = []
    if at and not user:
        problems.append(f"{uri}: no user before '@'; needed: {_FORM}")
    if not slash or not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        problems.append(f"{uri}: topic {topic!r} is none; needed: {_FORM}, of letters, digits, '.', '_' and '-'")
    problems += [f"{uri}: {problem}" for host in hosts.split(",") if (problem := _bad_host(host))]
    if not problems:
        problems = [f"{uri}: {problem}" for problem in _mismatches(protocol or "PLAINTEXT", mechanism, user)]
    if problems:
        raise ConfigError.of(problems)
    return BrokerUri(hosts, topic, protocol or "PLAINTEXT", mechanism, user)


def _bad_host(text: str) -> str:
    """Return what is wrong with a ``host:port``, "" when nothing is."""
    host, colon, port = text.rpartition(":")
    if "[" in text or ":" in host:
        return f"{text!r} is an IPv6 address; a name or an IPv4 address was needed"
    if not colon or not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        return f"{text!r} is no host:port; needed: {_FORM}"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= _LAST_PORT:
        return f"port {port!r} of {host!r} is no number from 1 to {_LAST_PORT}"
    return ""
