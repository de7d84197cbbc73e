"""How implementations are spoken to: one module for each way, and ``known`` has them all."""
