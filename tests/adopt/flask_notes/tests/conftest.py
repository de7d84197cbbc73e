import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def app():
    import notes

    notes.create_tables()
    return notes.app


@pytest.fixture
def client(app):
    import notes

    with notes.connect() as db:
        db.execute("truncate note restart identity")
    notes.cache.flushdb()
    return app.test_client()
