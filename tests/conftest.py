"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.settings import Settings

pytest_plugins = ("tests.fixtures.bundles", "tests.fixtures.contenders", "tests.fixtures.nights")

PSEUDONYM_KEY = "7a" * 32

if not hasattr(sys.modules["__main__"], "__file__"):
    # A worker of pytest-xdist: pyspark takes a main module without a file for a doctest and ends the process.
    sys.modules["__main__"].__file__ = __file__


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Default settings whose store lies in the test's own folder."""
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", PSEUDONYM_KEY)
    return settings_module.load([f"store.root={tmp_path / 'var'}"])


@pytest.fixture(scope="session")
def behaviour_logs() -> Path | None:
    """The folder of real logs, or None where there is none and generated logs must do."""
    folder = os.environ.get("BEHAVIOUR_LOGS_DIR")
    return Path(folder) if folder else None
