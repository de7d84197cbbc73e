"""Connections to services in a network that cannot be reached from here, made by a program in a container there.

``program`` is that program, and what both sides have in common; ``outside`` is this side.
"""

from harness.relay.outside import Relay, Unreached, Wire, command

__all__ = ["Relay", "Unreached", "Wire", "command"]
