"""The matrix of telehash: its implementations with each other, and those that are broken on purpose."""

from __future__ import annotations

import sys
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import plain_cells
import pytest
from checkout import ROOT

from harness import procs
from harness.matrix.expectations import compare, expectation_for, unmatched
from harness.runs.interop import reading

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.cases import Case
    from harness.matrix.cells import Cell

HERE = ROOT / "integration_tests/interop/telehash"
sys.path.insert(0, str(HERE / "implementations/python"))

from e3x import channels, cs3a, hashnames, packets, salsa  # noqa: E402
from e3x.exchange import Exchange, read_handshake  # noqa: E402

MATRIX, CASES = reading.read(HERE)
MUTANTS, _ = reading.read(ROOT / "integration_tests/interop/mutants")
CELLS = [(case, cell) for case in CASES for cell in plain_cells.cells_of(MATRIX, case)]
BROKEN = [(case, cell) for case in CASES for cell in plain_cells.cells_of(MUTANTS, case)]
# Of each mutant one cell that notices it, and one that has nothing to do with it.
NOTICED = {
    "channel-reliable/reorders/python",
    "channel-reliable/loses_each_tenth/python",
    "net-link/never_closes/python",
    "net-link/wrong_hashname/python",
    "channel-reliable/other_digest/python",
    "channel-unreliable/repeats/python",
    "channel-unreliable/flips_a_bit/python",
    "net-link/wrong_session/python",
    "channel-reliable/reorders/half",
}
UNTOUCHED = {"channel-unreliable/reorders/python", "net-link/flips_a_bit/python"}
TRACES = {
    "endpoint.new": {"endpoint_id", "hashname"},
    "endpoint.started": {"endpoint_id"},
    "endpoint.rcv.packet": {"endpoint_id", "packet_id", "packet"},
    "exchange.new": {"endpoint_id", "exchange_id"},
    "exchange.started": {"exchange_id", "peer"},
    "exchange.rcv.handshake": {"exchange_id", "packet_id", "handshake"},
    "exchange.rcv.packet": {"exchange_id", "packet_id", "packet"},
    "channel.new": {"exchange_id", "channel_id", "channel"},
    "channel.write": {"channel_id", "packet_id", "path", "packet"},
    "channel.rcv.packet": {"channel_id", "packet_id", "packet"},
}


@pytest.fixture(scope="module")
def node() -> None:
    """Install what the implementation on Node.js needs."""
    folder = HERE / "implementations/node"
    done = procs.run([sys.executable, "prepare.py"], timeout=400, cwd=folder)
    assert done.code == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(("case", "cell"), CELLS, ids=[cell.id for _, cell in CELLS])
def test_implementations_understand_each_other(case: Case, cell: Cell, tmp_path: Path) -> None:
    """Each implementation must pass each test with each, and say what happens in it with the events of the protocol."""
    verdict = plain_cells.run(MATRIX, case, cell, tmp_path).verdict
    assert verdict.status == "succeeded", verdict
    if case.name != "sanity":
        _traced(plain_cells.events_of(tmp_path))


def _traced(events: list[dict[str, Any]]) -> None:
    for role in ("worker", "driver"):
        said = {event["ty"]: set(event["in"]) for event in events if event["ro"] == role}
        for ty, keys in TRACES.items():
            assert keys == said.get(ty), f"{role}: {ty}"


@pytest.mark.parametrize(
    ("case", "cell"),
    [pair for pair in BROKEN if pair[1].id in NOTICED | UNTOUCHED],
    ids=[cell.id for _, cell in BROKEN if cell.id in NOTICED | UNTOUCHED],
)
def test_what_breaks_the_protocol_is_noticed(case: Case, cell: Cell, tmp_path: Path) -> None:
    """A test must fail with what breaks the thing that it is about, and pass with what breaks another."""
    verdict = plain_cells.run(MUTANTS, case, cell, tmp_path).verdict
    expectation = expectation_for(cell, reading.read_expected(MUTANTS))
    assert compare(verdict, expectation).kind == "expected", verdict
    assert (verdict.status == "failed") == (cell.id in NOTICED), verdict


def test_each_mutant_is_expected_to_be_noticed() -> None:
    """The expectations must be about cells that there are, and call for a failure of each mutant."""
    expected = reading.read_expected(MUTANTS)
    cells = [cell for _, cell in BROKEN]
    assert not unmatched(expected, cells)
    failing = [cell for cell in cells if (found := expectation_for(cell, expected)) and found.status == ("failed",)]
    assert {cell.worker for cell in failing} == {cell.worker for cell in cells}
    assert {cell.id for cell in failing} >= NOTICED


# ---- the telehash of our own


def test_boxes_are_those_of_nacl() -> None:
    """A box must be the one that NaCl's own test has for its key, nonce and text."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    text = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc"
        "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31"
        "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864"
        "5e0705"
    )
    box = salsa.seal(key, nonce, text)
    assert box[:16].hex() == "f3ffc7703f9400e52a7dfb4b3d3305d9"
    assert box[16:32].hex() == "8e993b9f48681273c29650ba32fc76ce"
    assert salsa.unseal(key, nonce, box) == text
    with pytest.raises(salsa.ForgedError):
        salsa.unseal(key, nonce, box[:-1] + bytes([box[-1] ^ 1]))


def test_packets_come_out_of_their_cloaks() -> None:
    """A packet must be the same after any number of cloaks, and what is none must be None."""
    packet = packets.encode({"type": "path", "c": 1}, b"body")
    for data in (packet, packets.cloak(packet), packets.cloak(packets.cloak(packet))):
        assert packets.decloak(data) == packets.Packet(b'{"type":"path","c":1}', b"body", {"type": "path", "c": 1})
    for wrong in (b"", b"\x01", b"\x01" * 9, b"\x00\x09{}", b"\x00\x07{broken", b"\x00\x08[1,2,3,]"):
        assert packets.decloak(wrong) is None


def test_a_hashname_is_the_same_with_a_key_or_its_hash() -> None:
    """Who has the key of one cipher set and the hashes of the others must find the same name as who has all keys."""
    keys = {"1a": b"a" * 21, "3a": b"b" * 32}
    whole = hashnames.of_keys(keys)
    hashed = {"1a": hashnames.decode(hashnames.encode(sha256(keys["1a"]).digest()))}
    assert hashnames.of_keys({"3a": keys["3a"]}, hashed) == whole
    assert whole != hashnames.of_keys({"3a": keys["3a"]})
    assert len(whole) == 52


def test_two_sides_of_an_exchange_come_to_one_number_and_session() -> None:
    """After a few handshakes nobody must need another, and each must read what the other sends."""
    pairs = cs3a.Pair(), cs3a.Pair()
    ends = [Exchange(own, other.key) for own, other in (pairs, pairs[::-1])]
    sender = 0
    for _ in range(4):
        handshake = read_handshake(_decoded(ends[sender].handshake()), pairs[1 - sender])
        assert handshake.hashname == hashnames.of_keys({"3a": pairs[sender].key})
        if not ends[1 - sender].take(handshake):
            break
        sender = 1 - sender
    else:
        pytest.fail("they go on for ever")
    for here, there in (ends, ends[::-1]):
        packet = _decoded(here.shut({"c": 1, "type": "x"}, b"body"))
        assert packet.body[:16] == there.token
        assert there.open(packet) == packets.Packet(b'{"c":1,"type":"x"}', b"body", {"c": 1, "type": "x"})
    assert {end.next_channel() % 2 for end in ends} == {0, 1}


def test_a_forged_handshake_is_refused() -> None:
    """A handshake that was changed, or is for another, must not be read."""
    own, other, third = cs3a.Pair(), cs3a.Pair(), cs3a.Pair()
    packet = _decoded(Exchange(own, other.key).handshake())
    changed = packets.Packet(packet.head, packet.body[:-1] + bytes([packet.body[-1] ^ 1]))
    with pytest.raises(salsa.ForgedError):
        read_handshake(changed, other)
    with pytest.raises(salsa.ForgedError):
        read_handshake(packet, third)


def _decoded(data: bytes) -> packets.Packet:
    packet = packets.decode(data)
    assert packet
    return packet


@pytest.mark.parametrize("lost", [0, 2, 3, 7])
def test_a_reliable_channel_keeps_everything_in_order(lost: int) -> None:
    """Whatever the network loses and swaps, each side must get all that the other has sent, once and in order."""
    wires: tuple[list[tuple[dict[str, Any], bytes]], ...] = ([], [])
    ends = [_channel(wire) for wire in wires]
    came: tuple[list[bytes], ...] = ([], [])
    for end, mine in zip(ends, came, strict=True):
        _collect(end, mine)
    sent = [f"{number}".encode() for number in range(200)]
    for body in sent:
        ends[0].send(body, now=0.0)
        ends[1].send(body, now=0.0)
    count, now = 0, 0.0
    while not all(end.settled for end in ends) and now < 60:
        now += 0.05
        for wire, receiver in zip(wires, ends[::-1], strict=True):
            carried = wire[:]
            wire.clear()
            carried[1::2], carried[:-1:2] = carried[:-1:2], carried[1::2]
            for head, body in carried:
                count += 1
                if not lost or count % lost:
                    receiver.receive(packets.Packet(body=body, json=head), now=now)
        for end in ends:
            end.tick(now=now)
    assert came == (sent, sent)
    assert all(earlier != later for earlier, later in pairwise(came[0]))


def _channel(wire: list[tuple[dict[str, Any], bytes]]) -> channels.ReliableChannel:
    return channels.ReliableChannel(1, "x", lambda head, body: wire.append((head, body)))


def _collect(channel: channels.Channel, bodies: list[bytes]) -> None:
    channel.on_packet = lambda packet: bodies.append(packet.body)


def test_a_reliable_channel_gives_up() -> None:
    """A packet that nobody acknowledges for 10 s must be the end of its channel, with a reason."""
    errors: list[str] = []
    channel = _channel([])
    channel.on_packet = lambda packet: errors.append(packet.json["err"])
    channel.send(b"x", now=0.0)
    channel.tick(now=9.0)
    assert not errors
    channel.tick(now=10.1)
    assert errors == ["timeout"] == [channel.error]
