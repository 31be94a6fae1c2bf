"""The peers' virtual environments: `python -m benchmarks.peers.environments` builds those that are missing or old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.core.artifacts import digest_of_file

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".venvs"
PEERS = {
    "implicit_als": "implicit",
    "implicit_bpr": "implicit",
    "implicit_item_knn": "implicit",
    "vsknn": "vsknn",
    "tfrs_two_tower": "tfrs",
    "rectools_sasrec": "rectools",
}
"""Which environment each peer's script runs in; `NAME.txt` pins it, `NAME.in` says what was asked for."""


def python_of(environment: str) -> Path:
    """Returns its interpreter, after installing what is pinned if that was not done."""
    folder, pins = FOLDER / environment, HERE / f"{environment}.txt"
    python, mark = folder / "bin" / "python", folder / "installed"
    wanted = digest_of_file(pins)
    if not mark.exists() or mark.read_text() != wanted:
        print(f"installing {pins.name} into {folder}", flush=True)
        uv = [str(Path(sys.executable).with_name("uv"))]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(pins)]
        subprocess.run(install, check=True)
        mark.write_text(wanted)
    return python


if __name__ == "__main__":
    for name in sorted(set(PEERS.values())):
        python_of(name)
