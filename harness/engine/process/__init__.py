"""Services as local processes."""
