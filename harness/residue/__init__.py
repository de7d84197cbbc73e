"""What a test left behind: snapshots before and after it, and their difference."""
