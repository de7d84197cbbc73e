"""Forwarders that are broken on purpose. Each is started as ``python -m mutants.NAME`` in place of the real one."""
