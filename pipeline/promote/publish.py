"""Puts a bundle where servers look for it, and proves it in a server of its own before anything points to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from pipeline.core.artifacts import place_beside, switch_in
from pipeline.core.errors import CorruptArtifactError, MissingInputError, PipelineError, UnavailableError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.bundle import Bundle, open_bundle

PORT, LOG = "port", "server.log"
POLL_SECONDS = 0.1
STOP_SECONDS = 20


def publish(source: Path, digest: str, layout: Layout) -> Bundle:
    """Copies a bundle beside its place under `bundles/`, verifies every byte and switches it in.

    A whole copy already there is kept; one whose bytes were changed is replaced.

    Raises: MissingInputError, CorruptArtifactError: the source is not the bundle with this digest.
    """
    final = layout.bundle(digest)
    damaged = False
    try:
        return open_bundle(final, digest)
    except MissingInputError:
        pass
    except CorruptArtifactError:
        damaged = True
    beside = place_beside(final, "tmp")
    try:
        _copy(source, beside)
        open_bundle(beside, digest)
        switch_in(beside, final, replace=damaged)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return open_bundle(final, digest)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def prove(bundle: Bundle, settings: Settings) -> None:
    """Starts the real server on a bundle; it verifies the bytes and answers the goldens before it is ready.

    Raises:
        CorruptArtifactError: the server refuses the bundle, in the server's own words.
        UnavailableError: it is not ready in time.
    """
    seconds = settings.promote.start_timeout_seconds
    with tempfile.TemporaryDirectory(prefix="prove-") as folder, _server(bundle, settings, Path(folder)) as process:
        base = _base(process, Path(folder), seconds)
        found = httpx.get(f"{base}/readyz", timeout=seconds).json()
        if found.get("bundle_digest") != bundle.digest:
            raise CorruptArtifactError(
                f"{bundle.path}: a fresh server says it serves {found.get('bundle_digest')!r}, "
                f"expected {bundle.digest!r}; publish the bundle again."
            )


@contextmanager
def _server(bundle: Bundle, settings: Settings, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "pipeline", "serve", "--bundle", str(bundle.path), "--port", "0"]
    words += ["--port-file", str(scratch / PORT), "--parent", str(os.getpid()), "--set", "serve.host=127.0.0.1"]
    own = {"host", "port", "tls_certificate", "tls_key", "tokens_file", "token_digests"}
    for name, value in settings.serve.model_dump(mode="json", exclude=own).items():
        words += ["--set", f"serve.{name}={json.dumps(value)}"]
    with (scratch / LOG).open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _base(process: subprocess.Popen[bytes], scratch: Path, timeout_seconds: float) -> str:
    """Waits until the server is ready and returns its base URL."""
    port_file, log = scratch / PORT, scratch / LOG
    ends = time.monotonic() + timeout_seconds
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise _refusal(process.returncode, log)
        if port_file.exists():
            base = f"http://127.0.0.1:{port_file.read_text().strip()}"
            if _ready(base):
                return base
        time.sleep(POLL_SECONDS)
    raise UnavailableError(
        f"A fresh server was not ready with the bundle within {timeout_seconds:g} s: {_last_line(log)}"
    )


def _ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _refusal(code: int, log: Path) -> PipelineError:
    kind = UnavailableError if code == UnavailableError.exit_code else CorruptArtifactError
    return kind(f"A fresh server ended with exit code {code} instead of serving the bundle: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing."
