"""What a measurement needs for itself: a folder and a PostgreSQL, durable as in production."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.postgres.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def scratch() -> AsyncIterator[tuple[Path, str]]:
    """A folder that the account of PostgreSQL may enter, too, and the DSN of a server in it; both go in the end."""
    folder = Path(tempfile.mkdtemp(prefix="tagship-bench-"))
    folder.chmod(0o755)
    try:
        server = await EmbeddedPostgres.start(folder / "postgres")
        try:
            yield folder, server.dsn
        finally:
            await server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
