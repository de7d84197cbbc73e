"""What is ours, and that it goes away: identity, ledger, keeper, sweep."""
