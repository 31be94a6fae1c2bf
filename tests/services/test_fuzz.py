"""The server against its own document: thousands of requests made from it, right and wrong ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pipeline.serve import tokens
from tests.services.servers import free_port, listens, running

EXAMPLES = "60"
UNFIT = "ensure_resource_availability,use_after_free,positive_data_acceptance"
"""Checks of what is made and taken away again, which nothing here is; and the one that all a schema allows is taken: a
schema calls 5.0 a whole number and cannot say that one price is above another. That every example of the document is
taken is held by a test of the document."""
REFUSED = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "422", "431"]
"""


def test_the_server_does_what_its_document_says_whatever_is_asked(tiny_bundle: Path, tmp_path: Path) -> None:
    token = tokens.add(tmp_path / "serve" / "tokens.json", "fuzzer", "write")
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", f"--bundle={tiny_bundle}", f"--port={port}"]
    command += [f"--set=store.root={tmp_path}", "--set=serve.max_history=20", "--set=serve.log_format=json"]
    # The phase that follows links from answer to answer is left out: nothing here has a state to follow.
    asks = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color"]
    asks += ["--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", "--generation-deterministic"]
    asks += [f"--exclude-checks={UNFIT}", "--continue-on-failure", "--request-timeout=20"]
    asks += ["--header", f"Authorization: Bearer {token}"]
    (tmp_path / "schemathesis.toml").write_text(REFUSED)
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with running(command, tmp_path, listens(port), **root) as process:
        before = resident_bytes(process.pid)
        found = subprocess.run(asks, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
        assert resident_bytes(process.pid) - before < 20e6
    (log,) = tmp_path.glob("*.log")
    assert '"event": "failure"' not in log.read_text() and "Traceback" not in log.read_text()
    assert int(re.search(r"(\d+) generated", found.stdout)[1]) > 500


def resident_bytes(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
