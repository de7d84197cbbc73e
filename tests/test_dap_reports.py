"""How the tests of DAP's draft 09 read reports, by the test vectors of what these are made of."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from harness.helpers.dap import Count, Histogram, Sum, Vdaf
from integration_tests.dap.tests.hpke import Key, Unopened, config_list
from integration_tests.dap.tests.prio3 import FIELD64, measured, prio3_of, turbo_shake128
from integration_tests.dap.tests.reports import Report, Sealed

hexed = bytes.fromhex

# RFC 9180, appendix A.1.1
KEY = Key(
    7, X25519PrivateKey.from_private_bytes(hexed("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"))
)
ENCAPSULATED = hexed("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
SEALED = hexed("f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a")
INFO, AAD = b"Ode on a Grecian Urn", b"Count-0"

# draft-irtf-cfrg-vdaf-08, appendix "Test Vectors"
NONCE = bytes(range(16))
COUNT = hexed("352c53cbc1f95eee43253a8650e8ac18a5bd9c18b824886772947facdf1a413f1cf547cdb8c1ad4ed4c1294ccc856209")
HISTOGRAM = hexed(
    "ac3ba28d7f5649e6b3932251da118acf6740508adaf7837c87cd0574c48a00ea2ba59154eff2921c69cdeb23276510d3758486d9189869"
    "0c4ba0fd3e6e149956aaa0fbc70889fae40bf0b8873db6f2c2c26ef6772e0dd8d091e12a1dbe4388bbc88819a887c53a4afa8e3e35b0c0"
    "0100af9000ad245790e71c322e5c252e25a25514ccc4ebeb9b9f47a98223b2d04d44f94a2cb4791ff9a056eca2a0c74ab11f08d41d917c"
    "daa2858d372c08339c414559066eb7be61cf2b5bb36c7c598a97b19802fead02586c39b001c18b5ff36e66d9ab75d6e9c6c0c0eaae66b1"
    "014ba2645047801054acea9f87404cc2749584db303132333435363738393a3b3c3d3e3f"
)
BUCKETS = Histogram((1, 2, 3))
PUBLIC = hexed("bc82ef4255afbf48216c910cd76ca5941da4a26362199818038b8624ba1ea4a9")


def test_what_was_sealed_is_opened() -> None:
    """A message of RFC 9180's test vectors must be opened by its key."""
    opened = KEY.open(ENCAPSULATED, SEALED, info=INFO, aad=AAD)
    assert opened == b"Beauty is truth, truth beauty"


@pytest.mark.parametrize(
    ("key", "encapsulated", "sealed", "info", "aad"),
    [
        (Key(7), ENCAPSULATED, SEALED, INFO, AAD),
        (KEY, KEY.public, SEALED, INFO, AAD),
        (KEY, ENCAPSULATED[:-1], SEALED, INFO, AAD),
        (KEY, bytes(32), SEALED, INFO, AAD),
        (KEY, ENCAPSULATED, SEALED[:-1], INFO, AAD),
        (KEY, ENCAPSULATED, b"", INFO, AAD),
        (KEY, ENCAPSULATED, SEALED, INFO[:-1], AAD),
        (KEY, ENCAPSULATED, SEALED, INFO, b"Count-1"),
    ],
)
def test_what_was_sealed_otherwise_stays_closed(
    key: Key, encapsulated: bytes, sealed: bytes, info: bytes, aad: bytes
) -> None:
    """Nothing must be opened with another key, for another purpose, or after a change."""
    with pytest.raises(Unopened):
        key.open(encapsulated, sealed, info=info, aad=aad)


def test_keys_are_told_as_dap_encodes_them() -> None:
    """A list of keys must have their numbers, algorithms and public halves, with lengths before."""
    told = config_list(KEY.config)
    assert told == hexed("0029 07 0020 0001 0001 0020") + KEY.public


def test_the_sponge_is_turbo_shake() -> None:
    """Streams must be those of TurboSHAKE128, by the draft's vector for its XOF and by RFC 9861 for longer ones."""
    domain, seed, binder = b"domain separation tag", bytes(range(16)), b"binder string"
    stream = turbo_shake128(bytes([len(domain)]) + domain + seed + binder, 1)
    assert bytes(islice(stream, 16)) == hexed("8bac064e720bb1c413040a3f41990075")
    assert bytes(islice(turbo_shake128(b"", 0x1F), 32)) == hexed(
        "1e415f1c5983aff2169217277d17bb538cd945a397ddec541f1ce41af2c1b74c"
    )


@pytest.mark.parametrize(
    ("vdaf", "leader", "helper", "value", "public"),
    [
        (Count(), COUNT, bytes(range(32)), 1, b""),
        (BUCKETS, HISTOGRAM, bytes(range(48)), 2, PUBLIC),
    ],
)
def test_shares_come_to_the_measurement(vdaf: Vdaf, leader: bytes, helper: bytes, value: int, public: bytes) -> None:
    """Both shares of the draft's vectors must have their lengths, and come to measurement and public share."""
    prio3 = prio3_of(vdaf)
    assert (len(leader), len(helper), len(public)) == (prio3.leader_length, prio3.helper_length, prio3.public_length)
    assert measured(vdaf, prio3.elements_of(leader, helper)) == value
    assert prio3.public_share(leader, helper, NONCE) == public


def test_a_changed_share_is_seen() -> None:
    """Shares that do not belong together must come to no measurement, and to another public share."""
    prio3, other = prio3_of(BUCKETS), bytes(range(1, 49))
    with pytest.raises(ValueError, match="are not 0 and 1"):
        measured(BUCKETS, prio3.elements_of(HISTOGRAM, other))
    assert prio3.public_share(HISTOGRAM, other, NONCE) != PUBLIC
    assert prio3.public_share(HISTOGRAM, bytes(range(48)), NONCE[::-1]) != PUBLIC


@pytest.mark.parametrize(
    ("vdaf", "elements", "value"), [(Sum(3), [1, 0, 1], 5), (Sum(1), [0], 0), (BUCKETS, [0, 0, 0, 1], 3)]
)
def test_elements_are_a_measurement(vdaf: Vdaf, elements: list[int], value: int) -> None:
    """A sum's elements must be its bits, the lowest first, a histogram's be its buckets."""
    assert measured(vdaf, elements) == value


@pytest.mark.parametrize(
    ("vdaf", "elements", "words"),
    [(Sum(3), [1, 2, 0], "not 0 and 1"), (BUCKETS, [0, 0, 0, 0], "0 buckets"), (BUCKETS, [1, 1, 0, 0], "2 buckets")],
)
def test_elements_are_no_measurement(vdaf: Vdaf, elements: list[int], words: str) -> None:
    """Elements that no client must send must be an error that says what they are."""
    with pytest.raises(ValueError, match=words):
        measured(vdaf, elements)


@pytest.mark.parametrize("encoded", [bytes(7), b"\xff" * 8])
def test_what_is_no_element(encoded: bytes) -> None:
    """Bytes that are too few, or no element of the field, must be an error."""
    with pytest.raises(ValueError, match="are no elements"):
        FIELD64.read(encoded)


def test_what_is_too_large_is_left_out() -> None:
    """Of a stream, bytes that are no element must be left out, and the next ones be taken."""
    stream = iter(b"\xff" * 8 + (5).to_bytes(8, "little") + bytes(8))
    assert list(islice(FIELD64.expanded(stream), 2)) == [5, 0]


REPORT = Report(bytes(16), 1234, b"public", Sealed(17, b"enc", b"leader's"), Sealed(34, b"", b"helper's"))
ENCODED = (
    bytes(16)
    + hexed("00000000000004d2 00000006")
    + b"public"
    + hexed("11 0003")
    + b"enc"
    + hexed("00000008")
    + b"leader's"
    + hexed("22 0000 00000008")
    + b"helper's"
)


def test_a_report_is_decoded() -> None:
    """A report must be decoded as draft 09 encodes it."""
    assert Report.decode(ENCODED) == REPORT
    assert Report.decode(ENCODED.replace(b"public", b"pUblic")) == replace(REPORT, public_share=b"pUblic")


@pytest.mark.parametrize("body", [b"", ENCODED[:-1], ENCODED[:20], ENCODED + b"\0", ENCODED * 2])
def test_what_is_no_report(body: bytes) -> None:
    """A body that is too short, or longer than a report, must be an error."""
    with pytest.raises(ValueError, match="bytes"):
        Report.decode(body)
