"""Values of an interoperability matrix: implementations, tests, cells, verdicts. Nothing here reads or writes."""
