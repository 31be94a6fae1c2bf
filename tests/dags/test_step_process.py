"""The child process behind a task: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

DAY = "2026-01-05"


@pytest.fixture
def missing_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STORE__ROOT", str(tmp_path / "var"))
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", "7a" * 32)
    monkeypatch.setenv("PIPELINE_INGEST__SOURCE", str(tmp_path / "nowhere"))


@pytest.mark.usefixtures("plugins", "missing_source")
def test_a_users_mistake_arrives_as_its_sentence_and_is_not_tried_again() -> None:
    from step_process import StepFailed, StepProcess

    said: list[str] = []
    with pytest.raises(StepFailed, match="nowhere") as refused:
        StepProcess(said.append).step("ingest", ["--run", "r1", "--days", DAY])
    assert not refused.value.retry_may_help
    assert "nowhere" in said[-1]
    assert not any("Traceback" in line for line in said)


@pytest.mark.usefixtures("plugins", "missing_source")
def test_a_misspelt_option_is_not_tried_again() -> None:
    from step_process import StepFailed, StepProcess

    with pytest.raises(StepFailed) as refused:
        StepProcess(print).step("ingest", ["--run", "r1", "--dayz", DAY])
    assert not refused.value.retry_may_help


@pytest.mark.usefixtures("plugins")
def test_lines_come_as_they_are_printed_and_the_last_is_kept() -> None:
    from step_process import StepProcess

    said: list[str] = []
    code, last = StepProcess(said.append)._run([sys.executable, "-c", "print('one'); print(); print('two')"])
    assert (code, said, last) == (0, ["one", "two"], "two")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("code", "helps"),
    [(-9, True), (0, True), (1, True), (70, True), (75, True), (64, False), (65, False), (66, False), (78, False)],
)
def test_exit_codes_without_a_result_tell_whether_a_retry_may_help(code: int, helps: bool) -> None:
    from step_process import _failure

    assert _failure("train", code, "last words").retry_may_help is helps


@pytest.mark.usefixtures("plugins")
def test_killing_ends_the_child_and_what_it_started() -> None:
    from step_process import StepProcess

    started: list[str] = []
    grandchild = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = StepProcess(started.append)
    command = [sys.executable, "-u", "-c", f"{grandchild}; print(c.pid); c.wait()"]
    runner = threading.Thread(target=process._run, args=(command,))
    runner.start()
    until = time.monotonic() + 20
    while not started and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    runner.join(20)
    assert not runner.is_alive()
    assert not psutil.pid_exists(int(started[0])) or psutil.Process(int(started[0])).status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("plugins", "missing_source")
def test_a_step_dies_with_its_parent(tmp_path: Path) -> None:
    # A parent that starts `serve` as its step and is killed: the child must go too, although nobody told it to.
    child = f"[{sys.executable!r}, '-m', 'pipeline', 'serve', '--port', '0', '--parent', str(os.getpid())]"
    code = f"import os, subprocess, time; c = subprocess.Popen({child}); print(c.pid, flush=True); time.sleep(60)"
    port_file = tmp_path / "out"
    with port_file.open("wb") as out:
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=out)
        pid = int(parent.stdout.readline())
        assert _within_seconds(30, lambda: "listening" in port_file.read_text())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert _within_seconds(30, lambda: not psutil.pid_exists(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _within_seconds(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
