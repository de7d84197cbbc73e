"""Notices by mail, Slack and whatever else Apprise speaks: when it changes how a suite stands, and only then."""
