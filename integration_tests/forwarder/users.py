"""The SCRAM users of the stack ``kafka_sasl``: Kafka keeps them in its metadata, so they are made when it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

if TYPE_CHECKING:
    import harness

USER = "forwarder"
TIMEOUT = 10.0
ITERATIONS = 4096


def password() -> str:
    """Return the password that the stack's files say."""
    return os.environ.get("FORWARDER_SASL_PASSWORD") or "over-the-hills"


def make(stack: harness.Stack) -> None:
    """Make the user, for both lengths of SCRAM."""
    admin = AdminClient({"bootstrap.servers": stack.endpoint("kafka_sasl", 9092)})
    secret = password().encode()
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        wanted = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, ITERATIONS), secret)
        admin.alter_user_scram_credentials([wanted], request_timeout=TIMEOUT)[USER].result(TIMEOUT)
