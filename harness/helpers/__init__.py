"""Clients for what is tested: the only importers of protocol libraries. Each is loaded when it is used."""
