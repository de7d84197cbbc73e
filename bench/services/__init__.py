"""Services that figures start."""
