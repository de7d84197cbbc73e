"""The suite of dap."""
