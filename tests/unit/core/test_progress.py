from __future__ import annotations

import pytest

from pipeline.core.progress import progress


def test_outside_a_terminal_progress_ends_in_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("train", 4, "steps") as bar:
        bar.advance(3, loss=0.123456)
        bar.advance(1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train: 4/4 steps, ")
    assert lines[0].endswith("loss=0.1235")
