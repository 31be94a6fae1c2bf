"""Which recipes are tried, in which order and until when, and what a run remembers of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.days import Days
from pipeline.core.errors import DataError, UsageError
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.optimize import step
from pipeline.optimize.making import attempt
from pipeline.optimize.making.recipes import RECIPES, Recipe
from pipeline.optimize.searching.order import champions_recipe, in_order
from pipeline.optimize.searching.search import MADE, Outcome, Search
from pipeline.steps import BY_NAME

DAY = "2024-05-08"
MEASURED = ("chosen", "front", "rejected")


@pytest.fixture(scope="module")
def yardstick_made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which prepare and train are done, and float32 lies there from some other night."""
    root = tmp_path_factory.mktemp("search") / "var"
    shutil.copytree(world, root, ignore=shutil.ignore_patterns("optimize", "optimize.json"))
    step.run_part(_settings(root), _run(root), "float32")
    shutil.rmtree(root / "runs" / DAY / "optimize")
    return root


@pytest.fixture
def root(yardstick_made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(yardstick_made, tmp_path / "var")


def _settings(root: Path, recipes: str = "[float32, dynamic_int8]", *more: str) -> Settings:
    fast = ["optimize.latency_requests=50", "shop.k=5"]
    return settings_module.load([f"store.root={root}", f"optimize.recipes={recipes}", *fast, *more])


def _run(root: Path, **given) -> Run:
    return Run.open(root, DAY, "UTC", **given)


def _rows(run: Run) -> dict[str, tuple[str, str]]:
    return {row["recipe"]: (row["verdict"], row["reason"]) for row in run.artifact("optimize").json("recipes.json")}


def _outcomes(settings: Settings, run: Run) -> dict[str, Outcome]:
    """What the step begins with; measuring and choosing, which cost several processes, are none of the search's."""
    return Search(settings, run).outcomes()


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the name of every recipe that is truly carried out."""
    carry_out, carried = attempt.carry_out, []

    def counted(recipe: Recipe, *rest):
        carried.append(recipe.name)
        return carry_out(recipe, *rest)

    monkeypatch.setattr(attempt, "carry_out", counted)
    return carried


def _breaks(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> list[str]:
    """Lets one recipe end with this error, and notes every recipe that was begun."""
    carry_out, begun = attempt.carry_out, []

    def broken(recipe: Recipe, *rest):
        begun.append(recipe.name)
        if recipe.name == name:
            raise error
        return carry_out(recipe, *rest)

    monkeypatch.setattr(attempt, "carry_out", broken)
    return begun


def test_the_yardstick_is_first_then_the_champions_recipe_then_those_that_only_convert() -> None:
    def recipe(name: str, *transforms: str) -> Recipe:
        return replace(RECIPES[0], name=name, transforms=transforms)

    given = [recipe("a", "prune"), recipe("b"), recipe("c", "prune"), recipe("d"), recipe("float32")]
    assert [each.name for each in in_order(given, "")] == ["float32", "b", "d", "a", "c"]
    assert [each.name for each in in_order(given, "c")] == ["float32", "c", "b", "d", "a"]
    assert [each.name for each in in_order(given, "of another time")] == ["float32", "b", "d", "a", "c"]


@pytest.mark.parametrize("torn", ["", "{", "null", "[]", '{"digest": "none"}', '{"sequence": 3}'])
def test_the_champions_recipe_is_read_from_its_bundle_and_missed_without_harm(tmp_path: Path, torn: str) -> None:
    layout = Layout(tmp_path)
    assert champions_recipe(layout) == ""
    for path, text in {
        layout.pointer: '{"digest": "abc"}',
        layout.bundle("abc") / "manifest.json": '{"recipe": "dynamic_int8"}',
    }.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert champions_recipe(layout) == "dynamic_int8"
    layout.pointer.write_text(torn)
    assert champions_recipe(layout) == ""


def test_the_parts_are_the_recipes_in_the_order_in_which_they_are_tried(root: Path) -> None:
    settings = _settings(root, "[pruned_qat_int8, dynamic_int8]")
    report = BY_NAME["optimize"].list_parts(settings, _run(root))
    assert report.parts == ("float32", "dynamic_int8", "pruned_qat_int8")
    # Asking begins nothing: the time counts from the first recipe.
    assert not (root / "runs" / DAY / "optimize").exists()


def test_an_unknown_part_is_refused_with_the_nearest_name(root: Path) -> None:
    with pytest.raises(UsageError, match=r"optimize has no recipe 'dynamic_int' .*; did you mean dynamic_int8\?"):
        BY_NAME["optimize"].run_part(_settings(root), _run(root), "dynamic_int")


def test_what_was_made_part_by_part_is_not_made_again(root: Path, monkeypatch) -> None:
    settings, carried = _settings(root), _counted(monkeypatch)
    reports = [step.run_part(settings, _run(root), part) for part in step.parts(settings, _run(root))]
    assert [report.sentence.partition(" recall@5 ")[0] for report in reports] == ["float32:", "dynamic_int8:"]
    assert [report.cached for report in reports] == [True, False]
    assert step.run_part(settings, _run(root), "dynamic_int8").cached
    assert _outcomes(settings, _run(root)) == {"float32": MADE, "dynamic_int8": MADE}
    assert carried == ["dynamic_int8"]


def test_forcing_makes_each_part_again_once_however_many_processes_share_the_search(root: Path, monkeypatch) -> None:
    settings, carried = _settings(root, "[float32]"), _counted(monkeypatch)
    assert _outcomes(settings, _run(root)) == {"float32": MADE}
    assert carried == []
    step.run_part(settings, _run(root, force=True), "float32")
    assert not step.run(settings, _run(root, force=True)).cached
    assert carried == ["float32"]
    # That search came to its end; whoever forces now wants another.
    _outcomes(settings, _run(root, force=True))
    assert carried == ["float32", "float32"]


def test_without_any_time_float32_alone_ships_and_the_others_say_so(root: Path) -> None:
    run = _run(root)
    settings = _settings(root, "[dynamic_int8, pruned_qat_int8]", "optimize.max_minutes=0")
    report = step.run(settings, run)
    late = ("not tried", "not begun within 0 minutes (optimize.max_minutes)")
    assert report.verdict == "float32"
    assert _rows(run)["float32"][0] == "chosen"
    assert {name: row for name, row in _rows(run).items() if name != "float32"} == {
        "dynamic_int8": late,
        "pruned_qat_int8": late,
    }
    assert "dynamic_int8 not tried: not begun within 0 minutes" in report.sentence
    part = step.run_part(settings, run, "dynamic_int8")
    assert (part.verdict, part.sentence) == ("not tried", f"dynamic_int8 is not tried: {late[1]}.")
    assert step.run(settings, run).cached


def test_a_search_that_was_cut_is_not_what_a_complete_one_is_answered_with(root: Path, monkeypatch) -> None:
    run, carried = _run(root), _counted(monkeypatch)
    step.run(_settings(root, "[dynamic_int8]", "optimize.max_minutes=0"), run)
    whole = step.run(_settings(root, "[dynamic_int8]"), run)
    assert not whole.cached and _rows(run)["dynamic_int8"][0] in MEASURED
    # What the cut one made was kept. And the other way round: what is known by now is taken, whatever the time.
    assert carried == ["dynamic_int8"]
    assert step.run(_settings(root, "[dynamic_int8]", "optimize.max_minutes=0"), run).digests == whole.digests


def test_the_time_counts_from_the_first_recipe_of_the_run_whichever_process_began_it(root: Path, monkeypatch) -> None:
    settings, run, carried = _settings(root), _run(root), _counted(monkeypatch)
    step.run_part(settings, _run(root, force=True), "float32")
    record = root / "runs" / DAY / "optimize" / "search.json"
    known = json.loads(record.read_text())
    # An hour passes.
    record.write_text(json.dumps({**known, "began": "2024-05-08T00:00:00+00:00"}))
    assert step.run_part(settings, run, "dynamic_int8").verdict == "not tried"
    assert _outcomes(settings, run)["dynamic_int8"].verdict == "not tried"
    assert carried == ["float32"]


def test_a_part_that_failed_stays_failed_and_is_tried_again_only_when_it_is_asked_for(root: Path, monkeypatch) -> None:
    settings, run = _settings(root), _run(root)
    begun = _breaks(monkeypatch, "dynamic_int8", ValueError("this converter broke\nand said more"))
    step.run_part(settings, run, "float32")
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"The recipe dynamic_int8 failed \(ValueError: this converter broke\), and"
        ):
            step.run_part(settings, run, "dynamic_int8")
    failed = Outcome("failed", "ValueError: this converter broke")
    assert _outcomes(settings, run) == {"float32": MADE, "dynamic_int8": failed}
    assert begun == ["dynamic_int8", "dynamic_int8"]


def test_what_another_run_made_meanwhile_takes_the_place_of_a_failure(root: Path, monkeypatch) -> None:
    settings, run, other = _settings(root), _run(root), Run.open(root, "2024-05-09", "UTC")
    for stage in ("prepare", "train"):
        other.refer(stage, run.artifact(stage).key)
    with monkeypatch.context() as patch:
        _breaks(patch, "dynamic_int8", ValueError("this converter broke"))
        with pytest.raises(DataError):
            step.run_part(settings, run, "dynamic_int8")
    step.run_part(settings, other, "dynamic_int8")
    assert _outcomes(settings, run)["dynamic_int8"] == MADE


def test_a_part_that_was_mended_takes_the_place_of_its_failure(root: Path, monkeypatch) -> None:
    settings, run = _settings(root), _run(root)
    with monkeypatch.context() as patch:
        begun = _breaks(patch, "dynamic_int8", ValueError("this converter broke"))
        failed = _outcomes(settings, run)
    assert _outcomes(settings, run) == failed and begun == ["dynamic_int8"]
    step.run_part(settings, run, "dynamic_int8")
    mended = _outcomes(settings, run)
    assert mended["dynamic_int8"] == MADE
    # So the choice among them is another's, and made anew.
    search = Search(settings, run)
    assert search.sections(mended) != search.sections(failed)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_a_persons_stop_is_no_row_and_is_tried_again(root: Path, error, monkeypatch) -> None:
    settings, run = _settings(root), _run(root)
    with monkeypatch.context() as patch:
        _breaks(patch, "dynamic_int8", error)
        for _ in range(3):
            with pytest.raises(type(error)):
                step.run(settings, run)
    assert _outcomes(settings, run)["dynamic_int8"] == MADE


def test_a_recipe_whose_process_was_killed_each_time_is_a_row_not_the_end_of_the_night(root: Path, monkeypatch) -> None:
    settings, run = _settings(root), _run(root)
    begun = _breaks(monkeypatch, "dynamic_int8", ValueError("would have been killed a fourth time"))
    recipe = Search(settings, run).in_order[1]
    unended = []
    for _ in range(3):
        # A kill lets nobody note anything: the block is begun, and does not end while the test looks.
        search = Search(settings, run)
        unended.append(search.notes.trying(recipe.name, search._key(recipe)))
        unended[-1].__enter__()
    told = "its process was killed 3 times; it may need more memory or time than it gets"
    assert _outcomes(settings, run)["dynamic_int8"] == Outcome("failed", told)
    assert begun == []


def _another(root: Path, run_id: str, day: str) -> Run:
    run = Run.open(root, run_id, "UTC", Days.parse(day))
    for stage in ("prepare", "train"):
        run.refer(stage, f"{stage}-key")
    return run


def test_a_run_answered_from_the_cache_refers_to_every_recipe_and_draws_a_night_that_came_up_later(root: Path) -> None:
    settings, after = _settings(root, "[float32]"), "2024-05-09"
    first = _another(root, after, after)
    step.run(settings, first)
    again = _another(root, "again", after)
    assert step.run(settings, again).cached
    assert again.artifact("optimize", "float32").path == first.artifact("optimize", "float32").path
    # The night before is made after it: whoever runs the later one once more sees it.
    step.run(settings, _run(root))
    late = _another(root, "late", after)
    assert not step.run(settings, late).cached
    assert late.artifact("optimize").json("choice.json")["last_night"]["run_id"] == DAY
    assert again.artifact("optimize").json("choice.json")["last_night"] is None


def test_every_recipe_has_a_name_that_may_be_a_file() -> None:
    assert all(recipe.name.isidentifier() for recipe in RECIPES)
