"""The environments peers live in: one a folder of peers, made from its pins.

command = [python_of("tfrs"), "-m", "benchmarks.peers.tfrs.two_tower", ...]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python_of(peer: str) -> str:
    """Returns the interpreter of a peer's environment, which is made anew where its pins have changed."""
    pins, environment = HERE / peer / "requirements.txt", HERE / peer / ".venv"
    installed, python = environment / "installed.txt", environment / "bin" / "python"
    if not installed.exists() or installed.read_text() != pins.read_text():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(pins)], check=True)
        shutil.copy(pins, installed)
    return str(python)
