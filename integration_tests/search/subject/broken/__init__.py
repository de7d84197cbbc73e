"""Applications that are broken on purpose. Each is started as ``python -m broken.NAME`` in place of the real one."""
