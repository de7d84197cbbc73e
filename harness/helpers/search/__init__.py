"""A search engine for tests: waits for its health and its documents, bulk requests, and what a failed test asked of it.

Needs the extra ``search`` (opensearch-py). ``docs/search.md`` shows its use.
"""

from harness.helpers.search.client import Search
from harness.helpers.search.failures import SearchFailure

__all__ = ["Search", "SearchFailure"]
