"""Makes copies of templates (stacks of one service) at the request of services under test, which see no engine."""
