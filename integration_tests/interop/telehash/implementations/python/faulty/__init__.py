"""Telehashes that are broken on purpose: ``python -m faulty.NAME TEST ROLE``. The matrix must notice each."""
