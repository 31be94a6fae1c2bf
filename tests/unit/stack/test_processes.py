"""Real processes that behave badly: they must all be gone in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from stack import processes
from stack.places import CODE

# A service that ignores every polite request, with a child in a session of its own that does too.
STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
deaf += "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(120)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(120)
"""
# Dies at once when interrupted, and leaves its child behind.
CARELESS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(120)
"""
# Stands for the warden: owns one service, stops it, tells what was left.
OWNER = """
import json, os, sys, time
from pathlib import Path
from stack import processes
processes.adopt_orphans()
log = Path(sys.argv[1])
service = processes.start([sys.executable, "-c", sys.argv[2]], os.environ, log, log.parent)
while not log.read_text().strip(): time.sleep(0.05)
if sys.argv[3] == "wait":
    print(service.pid, flush=True)
    time.sleep(120)
left = processes.stop([service], (0.5, 0.5))
print(json.dumps({"left": left, "child": int(log.read_text().split()[0]), "service": service.pid}))
"""


def _owner(log: Path, service: str, then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OWNER, str(log), service, then]
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _stopped(log: Path, service: str) -> dict[str, object]:
    told, _ = _owner(log, service, "stop").communicate(timeout=60)
    return json.loads(told)


def test_stopping_ends_a_service_and_a_child_that_ignore_every_request(tmp_path: Path) -> None:
    told = _stopped(tmp_path / "log", STUBBORN)
    assert told["left"] == []
    assert not processes.lives(told["service"])
    assert not processes.lives(told["child"])


def test_stopping_finds_the_orphan_a_careless_service_left(tmp_path: Path) -> None:
    told = _stopped(tmp_path / "log", CARELESS)
    assert told["left"] == []
    assert not processes.lives(told["child"])


def test_a_service_is_interrupted_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = _owner(tmp_path / "log", CARELESS, "wait")
    service = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    until = time.monotonic() + 20
    while processes.lives(service) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes.lives(service)
    child = int((tmp_path / "log").read_text().split()[0])
    psutil.Process(child).kill()


def test_a_process_is_not_taken_for_another_with_its_number() -> None:
    me = psutil.Process()
    assert processes.is_same(me.pid, me.create_time())
    assert not processes.is_same(me.pid, me.create_time() - 3600)


def test_the_weight_of_a_tree_includes_its_children() -> None:
    # The child holds 50 MB it has written to, so the tree weighs at least that much more than the parent counted alone.
    code = "import sys; b = b'x' * 50_000_000; print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert processes.memory_bytes([child.pid]) > 50_000_000
    finally:
        child.communicate()
