"""A small telehash v3 (e3x with cipher set 3a, UDP) of this project's own, to test other implementations against.

It links to endpoints whose address and keys are known and has reliable and unreliable channels; it does not route or
discover, and speaks no other cipher set or transport.
"""
