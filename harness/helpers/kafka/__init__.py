"""Kafka for tests: topics, a producer that raises, a consumer that waits within a deadline and says what it saw.

Needs the extra ``kafka`` (confluent-kafka). ``docs/kafka.md`` shows its use.

Threads: one ``Kafka`` may be used by several threads at once; a ``KafkaConsumer`` belongs to one thread at a time, give
each thread its own.
"""

from harness.helpers.kafka.admin import missing_leaders
from harness.helpers.kafka.client import Kafka
from harness.helpers.kafka.connection import KafkaFailure
from harness.helpers.kafka.consumer import KafkaConsumer
from harness.helpers.kafka.messages import Message, UnexpectedMessage, WrongOrder, check_key_order
from harness.helpers.kafka.security import BrokerUri, Security, parse_uri

__all__ = [
    "BrokerUri",
    "Kafka",
    "KafkaConsumer",
    "KafkaFailure",
    "Message",
    "Security",
    "UnexpectedMessage",
    "WrongOrder",
    "check_key_order",
    "missing_leaders",
    "parse_uri",
]
