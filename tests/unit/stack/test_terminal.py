from __future__ import annotations

import pytest

from stack.terminal import View


def test_without_a_terminal_every_change_and_every_line_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with View(["train"]) as view:
        view.task("train", None, 0.0, 1)
        view.task("train", "running", 0.1, 1)
        view.task("train", "running", 0.6, 1)
        view.line("train", "train: 5/10 targets [bold]")
        view.task("train", "success", 1.5, 1)
        view.task("train", "success", 1.5, 1)
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in out] == [
        "train: running",
        "train | train: 5/10 targets [bold]",
        "train: success after 1.5 s",
    ]


def test_each_part_of_a_mapped_task_has_a_row_in_the_place_of_its_task() -> None:
    view = View(["train", "recipes", "recipe", "optimize"])
    view.task("recipe", None, 0.0, 1)
    view.task("recipe float32", "success", 2.0, 1)
    view.line("recipe broken", "KeyError: 'no_such_transform'")
    view.task("recipe broken", "failed", 1.0, 1)
    assert list(view.rows) == ["train", "recipes", "recipe float32", "recipe broken", "optimize"]
    assert view.rows["recipe broken"].says == "KeyError: 'no_such_transform'"


def test_a_task_nobody_named_before_gets_a_row_behind_the_others() -> None:
    view = View(["train"])
    view.task("notify", "running", 1.0, 1)
    view.line("notify", "Told.")
    assert {name: (row.state, row.says) for name, row in view.rows.items()} == {
        "train": ("waiting", ""),
        "notify": ("running", "Told."),
    }


def test_a_table_shows_missing_values_as_a_dash_and_keeps_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    View([]).table("Gates", ("gate", "low"), [("recall [all]", None), ("p99", 12.34567)])
    out = capsys.readouterr().out
    assert "recall [all]" in out
    assert "12.35" in out
    assert "None" not in out
