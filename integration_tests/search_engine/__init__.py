"""The search engine contract: what an engine must do for tests, whichever runs on an engine of ours."""
