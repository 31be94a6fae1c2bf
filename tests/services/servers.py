"""Servers of tests: on a free port, in a scratch folder, as a user of their own, and gone with the tests."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """Returns a port of the loopback nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def scratch(name: str, user: str = "") -> Iterator[Path]:
    """Makes a folder every user may enter, on a file system with extended attributes, owned by `user`."""
    folder = Path(tempfile.mkdtemp(prefix=f"nightshift-{name}-", dir=_place()))
    folder.chmod(0o755)
    own(folder, user)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> str:
    """Returns a folder for scratch; a tmpfs on /tmp may hold no extended attributes."""
    for place in (tempfile.gettempdir(), "/var/tmp"):
        with tempfile.NamedTemporaryFile(dir=place) as probe, suppress(OSError):
            os.setxattr(probe.name, "user.probe", b"x" * 1000)
            return place
    raise RuntimeError("Neither the temporary folder nor /var/tmp holds extended attributes, which Swift needs.")


def own(folder: Path, user: str) -> None:
    """Gives a folder and everything in it to a user, where there is a choice."""
    if user and os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, answers: Callable[[], bool], user: str = "", **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends.

    Args:
        folder: its working folder; its output goes to a file there.
        answers: tells whether it serves; asked until it does.
        user: whom it runs as when the tests run as root.
    """
    log = folder / f"{Path(command[0]).name}-{free_port()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
            env={**_environment(), **environment}, preexec_fn=_obey_owner, **as_user(user),
        )  # fmt: skip
    try:
        _wait(process, answers, command, log)
        yield process
    finally:
        _end(process)


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG", "PIPELINE_"))}


def as_user(user: str) -> dict[str, int | list[int]]:
    if not user or os.geteuid() != 0:
        return {}
    known = pwd.getpwnam(user)
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}


def _obey_owner() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(process: subprocess.Popen[bytes], answers: Callable[[], bool], command: Sequence, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            if answers():
                return
        time.sleep(0.05)
    _end(process)
    raise RuntimeError(f"{command[0]} does not serve (exit code {process.returncode}):\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def listens(port: int) -> Callable[[], bool]:
    """Returns a question: does somebody take connections on this port?"""

    def answers() -> bool:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True

    return answers
