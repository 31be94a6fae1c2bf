"""Which file a task's link opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.run import Layout

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A run whose gate wrote a report and whose train step left curves in the store; a secret lies beside the runs."""
    layout = Layout(tmp_path)
    for path, text in {
        "runs/night/decision/decision.html": "gates",
        "runs/night/refs/train.json": '{"": "abc"}',
        "store/train/abc/curves.svg": "curves",
        "secrets.env": "KEY=1",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return layout


@pytest.mark.parametrize(("step", "text"), [("gate", "gates"), ("train", "curves")])
def test_a_step_that_left_a_page_has_it_opened(layout: Layout, step: str, text: str) -> None:
    from reports import page_of

    assert page_of(layout, "night", step).read_text() == text


@pytest.mark.parametrize(
    ("run_id", "step"),
    [("night", "validate"), ("night", "register"), ("other", "gate"), ("..", "gate"), ("../..", "gate"), ("", "gate")],
)
def test_nothing_else_is_opened(layout: Layout, run_id: str, step: str) -> None:
    from reports import page_of

    assert page_of(layout, run_id, step) is None


def test_the_links_and_the_pages_are_of_the_same_steps() -> None:
    from reports import PAGES
    from step_tasks import STEPS_WITH_A_PAGE

    assert set(STEPS_WITH_A_PAGE) == set(PAGES)
