"""What a project that has a Compose file lacks for the harness: decided here, as values; nothing is read or written."""

from harness.adoption.adopting import Adoption, Checkout, Text, adopt

__all__ = ["Adoption", "Checkout", "Text", "adopt"]
