"""Mistakes end in one sentence and an exit code, before anything heavy is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError, UnavailableError
from pipeline.core.locks import only_one
from stack.airflow import AirflowClient
from stack.embedded import Stack
from stack.places import CODE, Places, read_state


def _stack(*words: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    done = subprocess.run(
        [sys.executable, "-m", "stack", *words], env=environment, capture_output=True, text=True, cwd=CODE
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--source", "nowhere"], 66, "there is no such folder"),
        (["--days", "2026-02-30"], 64, "'2026-02-30' is not a day"),
        (["--days", "2026-02-02..2026-02-01"], 64, "ends before it begins"),
        (["--set", "train.epoch=3"], 64, "did you mean epochs?"),
        (["--set", "train.epochs=three"], 64, "train.epochs is 'three'"),
        (["--set", "train.epochs"], 64, "is not of the form section.field=value"),
    ],
)
def test_a_night_that_cannot_be_is_refused_in_one_sentence(
    words: list[str], code: int, sentence: str, tmp_path: Path
) -> None:
    ended, said = _stack("nightly", "--root", str(tmp_path), *words)
    assert (ended, len(said.splitlines())) == (code, 1), said
    assert sentence in said


def test_two_nights_at_once_are_refused(tmp_path: Path) -> None:
    with only_one(tmp_path / "nightly.lock", "The first night"):
        ended, said = _stack("nightly", "--root", str(tmp_path))
    assert ended == 75
    assert said == f"A night on {tmp_path} is already under way (process {os.getpid()}); wait for it to end or stop it."


def test_two_stacks_on_one_root_are_refused(tmp_path: Path) -> None:
    with only_one(Places(tmp_path).lock, "The first stack"), pytest.raises(PipelineError, match="already under way"):
        Stack(tmp_path).start()


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"Port {port} \(AIRFLOW_PORT\) is in use"):
            Stack(tmp_path, {"AIRFLOW_PORT": str(port)}).start()
    assert read_state(Places(tmp_path))["services"] == {}
    assert not Stack(tmp_path).is_running


def test_status_and_down_without_a_stack_say_so(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    for words, sentence in (
        (["status"], "No stack is running; `make up` starts one."),
        (["down"], "No stack is running."),
    ):
        command = [sys.executable, "-m", "stack", *words, "--root", str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=CODE)
        assert (done.returncode, done.stdout.strip()) == (0, sentence)


def test_an_airflow_that_does_not_answer_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"Airflow at {url} does not answer"):
            AirflowClient(url, "admin", "x").call("GET", "/dags")


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\ncase $1 in --version) echo Python 3.9.2;; *) exit 1;; esac\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).write_text((CODE / name).read_text())
    done = subprocess.run(["make", "setup", f"PYTHON3={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"Python 3.11 is needed; '{old}' is Python 3.9.2." in done.stderr
    assert not (tmp_path / ".venv").exists()
