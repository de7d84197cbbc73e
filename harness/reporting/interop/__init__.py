"""Shows a matrix: the report as a value and as files, and how far a run of it is."""
