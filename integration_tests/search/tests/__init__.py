"""What the application must answer, whichever engine is behind it."""
