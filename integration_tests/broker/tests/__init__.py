"""One test for each row of the contract; its docstring is the row."""
