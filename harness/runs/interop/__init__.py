"""How a matrix is run: what is built, which cell when, and one cell from its first process to its verdict."""
