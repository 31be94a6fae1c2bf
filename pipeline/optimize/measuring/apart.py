"""Runs a measurement in a process of its own: no TensorFlow beside it, one thread, and it dies with who asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from pipeline.core.artifacts import PACKAGE
from pipeline.core.errors import UnavailableError

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Read by the libraries when they are loaded, so it has to stand before the process does."""


def ask(module: str, request: dict[str, Any], what: str, timeout_seconds: float, hint: str) -> Any:
    """Returns the JSON a module prints last, after it read the request as JSON from its standard input.

    Args:
        what: the measurement, for a person.
        hint: what to do when it takes too long.

    Raises: UnavailableError: it took too long, or ended without an answer.
    """
    command = [sys.executable, "-m", module, str(os.getpid())]
    try:
        done = subprocess.run(
            command,
            cwd=PACKAGE.parent,
            env={**os.environ, **ONE_THREAD},
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        told = f"The {what} took over {timeout_seconds:.0f} s; {hint}, and run optimize again."
        raise UnavailableError(told) from None
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UnavailableError(f"The {what} ended with code {done.returncode}: {last}; run optimize again.")
    return json.loads(said[-1])
