"""A service that publishes one message at a random moment. ``publisher.py BOOTSTRAP TOPIC SECONDS FILE``.

The moment lies in so many seconds from the start, not before the broker is known; its monotonic time stands in FILE.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from pathlib import Path

began = time.monotonic()

from confluent_kafka import Producer  # noqa: E402 - to load it is part of the time before the moment

bootstrap, topic, seconds, path = sys.argv[1:]
producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
producer.list_topics(topic, timeout=5)
moment = began + random.uniform(0, float(seconds))  # noqa: S311 - no secret
threading.Event().wait(max(0.0, moment - time.monotonic()))
told = time.monotonic()
producer.produce(topic, b"ready")
producer.flush(5)
Path(path).write_text(repr(told), encoding="ascii")
signal.pause()
