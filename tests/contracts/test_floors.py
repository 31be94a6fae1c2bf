"""Who may import whom, and what the house's rooms may be called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for top in ("pipeline", "plugins", "dags", "stack") for p in (ROOT / top).rglob("*.py")]
NAMELESS = {"utils", "util", "helpers", "common", "base", "misc"}


def test_every_floor_imports_only_the_floors_below_it() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([str(linter), "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_room_is_called_by_a_name_that_says_nothing() -> None:
    assert len(SOURCES) > 20
    assert [str(p) for p in SOURCES if NAMELESS & {p.stem, *p.relative_to(ROOT).parts}] == []


def test_unit_tests_mirror_the_pipeline() -> None:
    rooms = {p.name for p in (ROOT / "pipeline").iterdir() if p.is_dir() and p.name != "__pycache__"}
    mirrored = {p.name for p in (ROOT / "tests" / "unit").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms - mirrored == set()


def test_dags_are_declarations_of_at_most_sixty_lines() -> None:
    dags = sorted((ROOT / "dags").glob("*.py"))
    assert dags
    assert {p.name: n for p in dags if (n := len(p.read_text().splitlines())) > 60} == {}


def test_no_module_loads_pickles() -> None:
    assert [str(p) for p in SOURCES if "import pickle" in p.read_text() or "allow_pickle=True" in p.read_text()] == []
