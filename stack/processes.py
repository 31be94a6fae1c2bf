"""Starting services so that they die with their owner, and stopping them so that nothing is left."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# How long a service may take to end after SIGINT, and after SIGTERM.
PATIENCE_SECONDS = (6.0, 5.0)
SECONDS_BETWEEN_LOOKS = 0.1
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def start(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Starts a service in a session of its own, its output appended to a log file.

    It gets SIGINT when this process dies, and SIGINT works on it even where a shell had it ignored.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=dict(environment),
            start_new_session=True, preexec_fn=_obey_owner,
        )  # fmt: skip


def _obey_owner() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def adopt_orphans() -> None:
    """Makes this process the parent of whatever below it loses its own, so that nothing slips out of its tree."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(services: Iterable[subprocess.Popen[bytes]]) -> None:
    """Takes note of every child that ended, the adopted ones too."""
    known = {service.pid for service in services}
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def tree(roots: Iterable[int]) -> set[psutil.Process]:
    """Returns every living process that descends from these, or is in a session one of them leads."""
    roots = set(roots)
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if process.pid in roots:
                found |= {process, *process.children(recursive=True)}
            elif os.getsid(process.pid) in roots:
                found.add(process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return {process for process in found if lives(process.pid)}


def lives(pid: int) -> bool:
    """Tells whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(
    services: Sequence[subprocess.Popen[bytes]], patience_seconds: tuple[float, float] = PATIENCE_SECONDS
) -> list[int]:
    """Interrupts services, then terminates, then kills what is left of them.

    Everything below this process counts as theirs, so it must have no other children.

    Returns the pids of what would not die; empty unless the kernel itself holds a process.
    """
    roots = [service.pid for service in services]
    seen = _below(roots)
    for service in services:
        if service.poll() is None:
            service.send_signal(signal.SIGINT)
    for seconds, harder in zip((*patience_seconds, 5.0), (signal.SIGTERM, signal.SIGKILL, None), strict=True):
        seen = _wait(services, roots, seen, seconds)
        if harder is None or not seen:
            break
        for process in seen:
            _send(process, harder)
    return sorted(process.pid for process in seen)


def _below(roots: Iterable[int]) -> set[psutil.Process]:
    return tree([*roots, os.getpid()]) - {psutil.Process()}


def _wait(
    services: Sequence[subprocess.Popen[bytes]], roots: Sequence[int], seen: set[psutil.Process], seconds: float
) -> set[psutil.Process]:
    until = time.monotonic() + seconds
    while True:
        for service in services:
            service.poll()
        reap(services)
        seen = {process for process in seen | _below(roots) if lives(process.pid) and process.is_running()}
        if not seen or time.monotonic() > until:
            return seen
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def is_same(pid: int, created: float) -> bool:
    """Tells whether that process still runs, and is not another one that got its number."""
    try:
        return abs(psutil.Process(pid).create_time() - created) < 1.0 and lives(pid)
    except psutil.NoSuchProcess:
        return False


def memory_bytes(roots: Iterable[int]) -> int:
    """Returns the memory of these processes and all below them; shared pages count once where the kernel tells."""
    total = 0
    for process in tree(roots):
        try:
            total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total
