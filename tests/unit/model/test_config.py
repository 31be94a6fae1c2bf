"""`model.config`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.config import TowerConfig


def test_a_saved_configuration_comes_back_equal(tmp_path: Path) -> None:
    config = TowerConfig(items=7, dim=8, price_edges=(1.5, 3.0))
    config.save(tmp_path / "towers.json")
    assert TowerConfig.load(tmp_path / "towers.json") == config


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"items": 3}', '{"format_version": 99, "items": 3}', '{"format_version": 1, "items": 3, "depth": 4}'],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "towers.json"
    path.write_text(text)
    with pytest.raises(CorruptArtifactError, match=r"towers\.json: not a tower configuration"):
        TowerConfig.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match=r"towers\.json"):
        TowerConfig.load(tmp_path / "towers.json")
