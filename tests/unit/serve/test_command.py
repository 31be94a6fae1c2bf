"""The server as the command everybody runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.serve.conftest import until


@pytest.fixture
def started(tmp_path, bundles):
    """The command on the first bundle, with its port file; killed at the end if it still runs."""
    port_file = tmp_path / "port"
    words = [sys.executable, "-m", "pipeline", "serve", f"--bundle={bundles[0]}", "--port=0"]
    process = subprocess.Popen(
        [*words, f"--port-file={port_file}", f"--parent={os.getpid()}"], stderr=subprocess.PIPE, text=True
    )
    until(port_file.exists, "the port file")
    yield process, int(port_file.read_text())
    process.kill()
    process.wait()


def test_it_writes_its_port_answers_and_drains_on_sigterm(started):
    process, port = started
    assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "drained and ended" in said


def test_it_carries_no_tensorflow_no_pandas_and_no_mlflow(started):
    process, _ = started
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    assert "ai_edge_litert" in mapped
    assert not [name for name in ("tensorflow/", "/pandas/", "/mlflow/") if name in mapped]


def test_a_missing_bundle_ends_in_one_sentence(tmp_path):
    words = [sys.executable, "-m", "pipeline", "serve", f"--bundle={tmp_path / 'nothing'}", "--port=0"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 66
    assert "there is no release bundle here" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_importing_the_server_imports_nothing_heavy():
    code = "import sys, json, pipeline.serve.server; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(found.stdout))
    assert not loaded & {"tensorflow", "tf_keras", "pandas", "mlflow", "great_expectations", "pyarrow"}
