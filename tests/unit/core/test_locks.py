from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import BusyError
from pipeline.core.locks import only_one

HOLD = """
import sys, time
from pathlib import Path
from pipeline.core.locks import only_one
with only_one(Path(sys.argv[1]), "The night"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_told_who_holds_the_lock_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    lock = tmp_path / "night.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(BusyError, match=f"The night is already under way .process {holder.pid}."),
        only_one(lock, "The night"),
    ):
        pass
    holder.kill()
    holder.wait()
    with only_one(lock, "The night"):
        assert lock.exists()
