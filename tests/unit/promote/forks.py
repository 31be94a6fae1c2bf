"""Carries out commands in forks of one process that has imported what they need, and ends or stops them at a moment.

A line of JSON each on standard input: a command's `words` with the `moment` at which it gets `signal`, or the process
to `resume`. The answer: `pid`, `code` (minus the signal that ended it, null while it is stopped) and what it `said`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import sqlalchemy
from sqlalchemy.orm import configure_mappers

import pipeline.promote.commands
import pipeline.promote.step
import pipeline.store.tracking  # noqa: F401
from pipeline import cli


class Moment:
    """Just before the n-th audited call, or right after the n-th SQL statement, whose words hold a text.

    Calls are those Python audits: of files, processes, sockets, databases. SQL goes by the name `sql`.
    """

    def __init__(self, event: str, text: str, nth: int, signal: int) -> None:
        self.event, self.text, self.left, self.signal = event, text, nth, signal

    def watch(self) -> None:
        if self.event == "sql":
            sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", self._after_sql)
        else:
            sys.addaudithook(self._before_call)

    def _after_sql(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._meet("sql", statement)

    def _before_call(self, event: str, words: tuple[Any, ...]) -> None:
        if event == self.event:
            self._meet(event, str(words))

    def _meet(self, event: str, words: str) -> None:
        if event == self.event and self.text in words:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), self.signal)


def carry_out(words: list[str], moment: list[Any] | None, wanted: int, output: Path) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, target in enumerate((nothing, file, file)):
        os.dup2(target, stream)
    sys.argv[1:] = words
    if moment:
        Moment(*moment, signal=wanted).watch()
    try:
        cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(int(ended.code or 0))


def answer(pid: int, output: Path) -> dict[str, Any]:
    _, status = os.waitpid(pid, os.WUNTRACED)
    code = None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
    lines = output.read_text().splitlines()
    return {"pid": pid, "code": code, "said": lines[-1] if lines else ""}


def main(folder: Path) -> None:
    configure_mappers()
    outputs: dict[int, Path] = {}
    stopped: set[int] = set()
    for number, line in enumerate(sys.stdin):
        asked = json.loads(line)
        pid = asked.get("resume")
        if pid:
            os.kill(pid, signal.SIGCONT)
        else:
            output = folder / f"output-{number}"
            output.touch()
            pid = os.fork()
            if not pid:
                carry_out(asked["words"], asked["moment"], asked["signal"], output)
                os._exit(1)
            outputs[pid] = output
        said = answer(pid, outputs[pid])
        (stopped.add if said["code"] is None else stopped.discard)(pid)
        print(json.dumps(said), flush=True)
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
