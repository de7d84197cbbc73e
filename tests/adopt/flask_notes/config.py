"""Settings. The defaults are for work on a laptop, with `docker compose up`."""

import os

DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://notes:notes@localhost:54329/notes")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:63799/0")
