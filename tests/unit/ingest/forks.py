"""Carries out commands in forks of one process that has imported what they need, and kills them at their work.

A line of JSON each on standard input: the command's `words`, and after how many `seconds` it is killed, null for never.
The answer is how many seconds it lived.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pipeline.ingest.step  # noqa: F401
from pipeline import cli


def carried_out(words: list[str], seconds: float | None) -> float:
    begun = time.monotonic()
    child = os.fork()
    if not child:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.argv[1:] = words
        try:
            cli.main()
        finally:
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return time.monotonic() - begun


if __name__ == "__main__":
    for line in sys.stdin:
        print(carried_out(**json.loads(line)), flush=True)
