"""DuckDB for a step: in memory, bounded, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis

MEMORY_MB = 2048


@contextmanager
def engine(memory_mb: int = MEMORY_MB) -> Iterator[ibis.BaseBackend]:
    """Opens DuckDB in memory; what does not fit spills into a folder that is gone afterwards."""
    import ibis

    with TemporaryDirectory() as scratch:
        connection = ibis.duckdb.connect(temp_directory=scratch, memory_limit=f"{memory_mb}MB")
        try:
            connection.raw_sql("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.disconnect()
