"""How fast it is: each module with a ``measure`` is a figure; ``python -m bench`` measures them."""
