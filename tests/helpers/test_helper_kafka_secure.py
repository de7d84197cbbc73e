"""The Kafka helper against Apache Kafka that wants a login or TLS, and its compacted topics."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from checkout import ROOT
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from harness.clock import Deadline, now, poll
from harness.helpers.kafka import Kafka, KafkaFailure, Security
from harness.keeper.messages import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from containers import Dock

    from harness import Stack

PASSWORD = "correct horse"
WRONG = "battery staple"
PORTS = {"SASL_PLAINTEXT": 9093, "SSL": 9094, "SASL_SSL": 9095}


def one_line(pem: bytes) -> str:
    """Return a PEM text as one line, which a properties file can hold."""
    return " ".join(pem.decode().split("\n")).strip()


class Secured:
    """The broker and the authority that its certificate is from."""

    def __init__(self, stack: Stack, ca_file: Path) -> None:
        self.stack = stack
        self.ca_file = ca_file
        self.plain = stack.endpoint("kafka", 9092)

    def client(self, protocol: str, mechanism: str = "", password: str = PASSWORD, **more: object) -> Kafka:
        """Return a client of the listener with ``protocol``."""
        login = (mechanism, "alice", password) if mechanism else ()
        given = {"ca_file": self.ca_file, **more} if protocol.endswith("SSL") else {}
        security = Security(protocol, *login, **given)  # type: ignore[arg-type]
        return Kafka(self.stack.endpoint("kafka", PORTS[protocol]), timeout=60, patience=30, security=security)


@pytest.fixture(scope="module")
def secured(make_dock: Callable[[Path], Dock], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Apache Kafka with one listener for each protocol, a user alice, and a certificate for its address."""
    folder = tmp_path_factory.mktemp("secure")
    dock = make_dock(folder)
    try:
        shutil.copy(ROOT / "tests" / "stacks" / "kafka_secure.yaml", dock.root / "compose")
        authority = trustme.CA()
        ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        run = dock.run()
        leased = run.open().link.ask(Lease(["kafka_secure/kafka"], []))
        leaf = authority.issue_cert(leased["addresses"]["kafka_secure/kafka"])
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(certificate.bytes() for certificate in leaf.cert_chain_pems)
        # The file's variables: those of the caller were read before there was an address.
        (dock.root / "compose" / ".env").write_text(
            f"KAFKA_IMAGE_FOLDER={ROOT / 'images' / 'kafka'}\n"
            f"BROKER_CERTIFICATE={one_line(chain)}\nBROKER_KEY={one_line(pkcs8)}\n"
        )
        yield Secured(run.bring("kafka_secure"), ca_file)
    finally:
        dock.close()


@pytest.fixture(scope="module")
def alice(secured: Secured) -> None:
    """The user alice, for SCRAM."""
    admin = AdminClient({"bootstrap.servers": secured.plain, "log_level": 0})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        wanted = UserScramCredentialUpsertion("alice", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
        for future in admin.alter_user_scram_credentials([wanted]).values():
            future.result(10)


def exchange(kafka: Kafka) -> bytes | None:
    """Make a topic, send a message and read it back."""
    topic = f"test-{uuid.uuid4().hex}"
    kafka.create_topics({topic: 1})
    with kafka.consumer(topic) as consumer:
        kafka.send(topic, "v")
        came = consumer.wait_for(lambda _: True)
    last = kafka.last_message(topic)
    kafka.delete_topics(topic)
    assert last == came
    return came.value


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
        ("SSL", ""),
        ("SASL_SSL", "PLAIN"),
        ("SASL_SSL", "SCRAM-SHA-512"),
    ],
)
def test_a_client_that_logs_in_can_do_everything(secured: Secured, protocol: str, mechanism: str) -> None:
    """With the right password and authority, topics, messages and offsets must work over every protocol."""
    with secured.client(protocol, mechanism) as kafka:
        assert exchange(kafka) == b"v"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("act", ["topics", "send", "consumer", "last_message"])
def test_a_wrong_password_is_one_clear_error(secured: Secured, mechanism: str, act: str) -> None:
    """It must be told with broker, mechanism and user, without the password, long before the time-out."""
    acts: dict[str, Callable[[Kafka], object]] = {
        "topics": lambda kafka: kafka.topics(),
        "send": lambda kafka: kafka.send("t", "v"),
        "consumer": lambda kafka: kafka.consumer("t"),
        "last_message": lambda kafka: kafka.last_message("t"),
    }
    start = now()
    with secured.client("SASL_PLAINTEXT", mechanism, WRONG) as kafka, pytest.raises(KafkaFailure) as caught:
        acts[act](kafka)
    assert now() - start < 30
    assert caught.value.summary == (
        f"Broker {kafka.bootstrap} and this client do not trust each other "
        f"(SASL_PLAINTEXT as user 'alice' with {mechanism})"
    )
    shown = f"{caught.value} {caught.value!r} {caught.getrepr(showlocals=True, style='long')}"
    assert WRONG not in shown


def test_an_unknown_authority_is_one_clear_error(secured: Secured, tmp_path: Path) -> None:
    """A certificate of an authority that the client does not know must be told, long before the time-out."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    start = now()
    with secured.client("SSL", ca_file=tmp_path / "other.pem") as kafka, pytest.raises(KafkaFailure) as caught:
        kafka.topics()
    assert now() - start < 30
    assert caught.value.summary == f"Broker {kafka.bootstrap} and this client do not trust each other (SSL)"
    assert "certificate verify failed" in str(caught.value)


def test_the_wrong_protocol_is_told_at_the_deadline(secured: Secured) -> None:
    """A client without a login at a listener that wants one must end at its time-out and repeat what was seen."""
    start = now()  # its time-out leaves a busy broker and client the time to meet at all
    with Kafka(secured.stack.endpoint("kafka", 9093), timeout=10) as kafka, pytest.raises(KafkaFailure) as caught:
        kafka.topics()
    assert now() - start < 30
    assert caught.value.summary.startswith(f"Broker {kafka.bootstrap} did not list its topics")
    assert any(line.startswith("  last seen: ") for line in caught.value.details)


# -- compaction -----------------------------------------------------------------------------------------------------


@pytest.fixture
def compacted(secured: Secured) -> Iterator[tuple[Kafka, str]]:
    """A topic in which compaction has left offsets without a message, the newest of its first segment too."""
    topic = f"compacted-{uuid.uuid4().hex}"
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "1",
        "min.compaction.lag.ms": "0",
    }
    with Kafka(secured.plain, patience=10) as kafka:
        kafka.create_topics({topic: 1}, config=config)
        for number in range(50):
            kafka.send(topic, f"{number}", key="ab"[number % 2])
        count = 50
        # Each message may close a segment, and only closed ones are compacted.
        for _ in poll(Deadline.after(40)):
            kafka.send(topic, "x", key="c")
            count += 1
            if len(kafka.messages(topic)) < count - 40:
                break
        yield kafka, topic
        kafka.delete_topics(topic)


def test_a_compacted_topic_is_read_to_its_end(compacted: tuple[Kafka, str]) -> None:
    """All messages that are left must be returned, soon, from the start, from a time and from a gap."""
    kafka, topic = compacted
    start = now()
    left = kafka.messages(topic, timeout=60)
    (low, high) = kafka.watermarks(topic)[0]
    assert high - low > len(left)
    assert {b"48", b"49"} <= {message.value for message in left}
    gap = next(at for at in range(low, high) if at not in {message.offset for message in left})
    with kafka.consumer(topic) as consumer:
        consumer.assign({(topic, 0): gap})
        after = [message.offset for message in consumer.drain(60)]
    # The cleaner goes on meanwhile: some may be gone by now, the newest of each key never.
    assert set(after) <= {message.offset for message in left if message.offset > gap}
    assert after == sorted(after)
    assert after[-1] == high - 1
    assert now() - start < 30
    last = kafka.last_message(topic)
    assert last is not None
    assert last.key == b"c"
