"""A Postgres of the tests' own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.servers import as_user, free_port, listens, running, scratch

USER = "postgres"


@contextmanager
def postgres() -> Iterator[str]:
    """Runs Postgres until the block ends; gives the URL of its superuser, without a database."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    with scratch("postgres", USER) as folder:
        data, port = folder / "data", free_port()
        words = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True, **as_user(USER))
        server = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        with running(server, folder, listens(port), USER):
            yield f"postgresql+psycopg2://{USER}@127.0.0.1:{port}"
