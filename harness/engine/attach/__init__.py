"""Services that somebody else has started."""
