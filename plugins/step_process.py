"""Runs one `python -m pipeline …` as a child process: streams its lines, reads its result, lets nothing outlive it.

Knows nothing of Airflow, so that the parent stays small: TensorFlow lives and dies with the child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

RETRY_MAY_HELP = 75
WILL_NOT_HELP = frozenset({2, 64, 65, 66, 78})
SECONDS_TO_END = 10.0


class StepFailed(Exception):
    """A step's process ended badly; the text is its last sentence.

    Attributes:
        retry_may_help: whether running it again can end otherwise.
    """

    def __init__(self, sentence: str, retry_may_help: bool) -> None:
        super().__init__(sentence)
        self.retry_may_help = retry_may_help


class StepProcess:
    """One child process.

    Args:
        say: gets every line the child prints, as it comes.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._child: subprocess.Popen[str] | None = None

    def step(self, name: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Runs a step of the catalogue and returns its report.

        Raises: StepFailed: it did not end with a report.
        """
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            result = Path(folder) / "result.json"
            command = [*_pipeline(name), *arguments, "--result", str(result), "--parent", str(os.getpid())]
            code, last_line = self._run(command)
            message = json.loads(result.read_text()) if result.exists() else None
        if code == 0 and message and message["report"]:
            return message["report"]
        if message and message["error"]:
            raise StepFailed(message["error"], message["retry_may_help"])
        raise _failure(name, code, last_line)

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        """Runs a tool of the command line and returns its last line.

        Raises: StepFailed: it did not end with exit code 0.
        """
        code, last_line = self._run([*_pipeline(name), *arguments])
        if code:
            raise _failure(name, code, last_line)
        return last_line

    def _run(self, command: list[str]) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment,
        )  # fmt: skip
        last_line = ""
        try:
            for line in self._child.stdout or ():
                if text := line.rstrip():
                    last_line = text
                    self._say(text)
            return self._child.wait(), last_line
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends the child and everything it started, first asking, then not."""
        if self._child is None or self._child.poll() is not None:
            return
        processes = _tree(self._child.pid)
        for process in processes:
            _quietly(process.terminate)
        _, alive = psutil.wait_procs(processes, timeout=SECONDS_TO_END)
        for process in alive:
            _quietly(process.kill)
        self._child.wait()


def _pipeline(command: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", command]


def _failure(name: str, code: int, last_line: str) -> StepFailed:
    if code < 0:
        return StepFailed(f"{name} was killed by signal {-code}; it resumes where it was cut.", True)
    if code == 0:
        return StepFailed(f"{name} ended without a report; run it again.", True)
    return StepFailed(last_line or f"{name} ended with exit code {code}.", code not in WILL_NOT_HELP)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        return
