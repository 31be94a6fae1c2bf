"""Every test of this room speaks to the session's MLflow store: one of its own would cost seconds each time."""

from __future__ import annotations

import pytest

from pipeline.core.settings import Settings


@pytest.fixture
def settings(tracked: Settings) -> Settings:
    return tracked
