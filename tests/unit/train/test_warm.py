"""Where a night's training starts, on a real ledger; and that it takes over what the champion learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.bundle import FILES, seal_bundle
from pipeline.store.erasures import Erasures
from pipeline.store.ledger import Ledger
from pipeline.store.lineage import drop
from pipeline.train.prepared import Prepared
from pipeline.train.step import run as train
from pipeline.train.warm import ITEM_IDS, START, Start, find_start
from tests.fixtures.nights import with_section
from tests.unit.train.conftest import ITEMS, SPLIT, make_prepared
from tests.unit.train.test_step import shop_settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_section(settings, "train", scratch_every_nights=7)


def night(
    settings: Settings,
    day: int,
    learned_until: int | None = None,
    vector: list[float] | None = None,
    contexts: str = "[]",
) -> tuple[Run, Artifact]:
    """Begins the night of a day of December; training ends two days before it, its test begins a day before."""
    run = Run.open(settings.store.root.resolve(), f"night-{day}", "UTC", Days.parse(f"2011-12-{day:02}"))
    split = {"validation_start": moment(learned_until or day - 2), "data_end": moment(day - 1)}

    def fill(folder: Path) -> None:
        (folder / "split.json").write_text(json.dumps(split))
        (folder / "contexts.json").write_text(contexts)
        vectors = pa.array([None, vector], pa.list_(pa.float64()))
        table = pa.table({"index": pa.array([1, 2], pa.int32()), "item_id": ["a", "b"], "vector": vectors})
        parquet.write_table(table, folder / "items.parquet")

    return run, artifacts.build(run.layout.artifact("prepare", f"{day:032}"), fill)


def moment(day: int) -> str:
    return f"2011-12-{day:02}T00:00:00+00:00"


def trained_from(settings: Settings, run: Run, prepared: Artifact, start: Start) -> Artifact:
    """Leaves what a training would, its towers aside."""
    key = artifacts.input_key("train", {"prepare": prepared.key, **start.inputs}, {})
    made = {"inputs": {"prepare": prepared.key, **start.inputs}}
    return artifacts.build(run.layout.artifact("train", key), lambda out: start.save(out, settings, prepared), made)


def promote(settings: Settings, run: Run, trained: Artifact, data_end: str, kind: str = "promotion") -> str:
    """Publishes a bundle made from a training and makes it champion."""
    folder = run.folder / f"bundle-{trained.key}"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    facts = {"recipe": "float32", "data_end": data_end, "keys": {"train": trained.key}, "index": {}}
    digest = seal_bundle(folder, facts).digest
    run.layout.bundle(digest).parent.mkdir(exist_ok=True)
    folder.rename(run.layout.bundle(digest))
    append(settings, run, kind, digest, data_end)
    return digest


def append(settings: Settings, run: Run, kind: str, digest: str, data_end: str) -> None:
    ledger = Ledger.open(settings.store)
    given: dict[str, Any] = {"to_digest": digest, "data_end": data_end, "run_id": run.run_id}
    ledger.append(kind=kind, who="a test", expected_head=ledger.head(), **given)


def promoted_night(settings: Settings, day: int) -> Artifact:
    run, prepared = night(settings, day)
    trained = trained_from(settings, run, prepared, find_start(settings, run, prepared))
    promote(settings, run, trained, moment(day - 1))
    return trained


def test_a_night_without_a_champion_starts_from_scratch(settings: Settings) -> None:
    start = find_start(settings, *night(settings, 8))
    assert start.inputs == {}
    assert start.sentence == "Started from scratch: no champion stands whose data ended earlier."


def test_a_night_starts_from_the_champion_and_names_it_among_its_inputs(settings: Settings) -> None:
    champion = promoted_night(settings, 8)
    start = find_start(settings, *night(settings, 9))
    assert start.trained == champion
    assert start.inputs == {"start": champion.digest}
    assert f"from the champion: training {champion.key[:12]}, warm night 1 of at most 6" in start.sentence


def test_a_night_repeated_after_its_own_promotion_starts_where_it_did(settings: Settings) -> None:
    first, second = promoted_night(settings, 8), promoted_night(settings, 9)
    run, prepared = night(settings, 9)
    assert find_start(settings, run, prepared).trained == first
    assert find_start(settings, *night(settings, 10)).trained == second


def test_what_was_rolled_back_is_no_start(settings: Settings) -> None:
    run, prepared = night(settings, 8)
    first = trained_from(settings, run, prepared, Start("a test"))
    digest = promote(settings, run, first, moment(7))
    promoted_night(settings, 9)
    append(settings, run, "rollback", digest, moment(7))
    assert find_start(settings, *night(settings, 10)).trained == first


def test_every_few_nights_it_starts_from_scratch_and_counts_again(settings: Settings) -> None:
    settings = with_section(settings, "train", scratch_every_nights=3)
    nights = [json.loads((promoted_night(settings, day).path / START).read_text())["nights"] for day in range(8, 13)]
    assert nights == [0, 1, 2, 0, 1]
    again = with_section(settings, "train", scratch_every_nights=1)
    assert find_start(again, *night(settings, 14)).reason == "train.scratch_every_nights is 1"


def test_other_settings_or_code_start_from_scratch(settings: Settings) -> None:
    champion = promoted_night(settings, 8)
    wider = with_section(settings, "train", dim=32)
    assert find_start(wider, *night(settings, 9)).reason == "train.dim is 32 and was 0 for the champion"
    faster = with_section(settings, "train", checkpoint_seconds=1.0)  # changes nothing of what is learned
    assert find_start(faster, *night(settings, 9)).trained == champion
    facts = champion.json(START)
    facts["made_with"]["code"] = "older"
    (champion.path / START).write_text(json.dumps(facts))
    assert "the code is not the one that trained" in find_start(settings, *night(settings, 9)).reason


def test_vectors_of_another_length_start_from_scratch(settings: Settings) -> None:
    promoted_night(settings, 8)
    found = find_start(settings, *night(settings, 9, vector=[0.5, 2.0]))
    assert found.reason == "the vectors' length is 2 and was 0 for the champion"


def test_the_first_night_with_contexts_starts_from_scratch(settings: Settings) -> None:
    promoted_night(settings, 8)
    found = find_start(settings, *night(settings, 9, contexts='["country=France"]'))
    assert found.reason == "the number of context buckets is 1024 and was 0 for the champion"


def test_a_champion_that_learned_from_tonights_validation_is_no_start(settings: Settings) -> None:
    promoted_night(settings, 8)  # learned until the 6th
    run, prepared = night(settings, 9, learned_until=5)
    assert "which this night validates with" in find_start(settings, run, prepared).reason
    before = night(settings, 7)  # as of a time before the champion's data ended
    assert "no champion stands" in find_start(settings, *before).reason


def test_a_training_that_is_gone_or_knew_somebody_forgotten_is_no_start(settings: Settings) -> None:
    champion = promoted_night(settings, 8)
    erasures = Erasures.open(settings)
    seq = erasures.begin(["p" * 64], [], "a test", "asked")
    erasures.removing(seq, {"days": {}, "derived": {"train": [champion.key]}})
    assert "a person who was forgotten" in find_start(settings, *night(settings, 9)).reason
    gone = promoted_night(settings, 9)
    drop(gone)
    assert f"training {gone.key[:12]} is not in the store" in find_start(settings, *night(settings, 10)).reason


def test_a_bundle_that_cannot_be_read_starts_from_scratch(settings: Settings) -> None:
    run, prepared = night(settings, 8)
    digest = promote(settings, run, trained_from(settings, run, prepared, Start("a test")), moment(7))
    (run.layout.bundle(digest) / FILES[0]).write_text("spoilt")
    assert "the champion's bundle cannot be read" in find_start(settings, *night(settings, 9)).reason


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Run, Artifact, Artifact]:
    """Two nights of the two-taste shop for real; by the second, item 20 is another one."""
    folder = tmp_path_factory.mktemp("nights")
    root = {"root": folder / "var"}
    settings = shop_settings(Settings(store=root), epochs=2, warm_epochs=1, scratch_every_nights=7)  # type: ignore[arg-type]
    made = []
    for day in (8, 9):
        run = Run.open(settings.store.root, f"night-{day}", "UTC", Days.parse(f"2011-12-{day:02}"))
        prepared = make_prepared(run.layout.artifact("prepare", f"{day:032}"))
        split = {**SPLIT, "validation_start": moment(day - 2), "data_end": moment(day - 1)}
        (prepared.path / "split.json").write_text(json.dumps(split))
        if day == 9:
            table = parquet.read_table(prepared.file("items.parquet"))
            ids = [*table["item_id"].to_pylist()[:-1], "fresh"]
            table = table.set_column(table.column_names.index("item_id"), "item_id", [ids])
            parquet.write_table(table, prepared.file("items.parquet"))
        run.refer("prepare", prepared.key)
        train(settings, run)
        made.append(run.artifact("train"))
        promote(settings, run, made[-1], moment(day - 1))
    return settings, run, *made


def test_the_second_night_goes_on_from_the_first_and_says_so(
    two_nights: tuple[Settings, Run, Artifact, Artifact],
) -> None:
    settings, run, first, second = two_nights
    assert second.manifest["inputs"]["start"] == first.digest
    assert second.json(START)["from"]["train_key"] == first.key
    report = train(settings, run)
    assert report.cached
    assert "after 1 epochs" in report.sentence
    assert f"Started from the champion: training {first.key[:12]}" in report.sentence
    assert parquet.read_table(second.file(ITEM_IDS))["item_id"].to_pylist()[-1] == "fresh"


def test_weights_are_taken_over_and_rows_go_by_item(two_nights: tuple[Settings, Run, Artifact, Artifact]) -> None:
    from pipeline.model.config import TowerConfig
    from pipeline.model.towers import build_towers
    from pipeline.train.warm import carried_over

    _, run, first, _ = two_nights
    before = build_towers(TowerConfig.load(first.file("towers.json")))
    before.item.load_weights(str(first.file("item_tower.weights.h5")))
    before.query.load_weights(str(first.file("query_tower.weights.h5")))
    table = before.item.get_layer("item_id_table").embeddings
    place = next(n for n, variable in enumerate(before.trainable) if variable is table)
    known: list[np.ndarray] = []

    def beside(rows_n1D: np.ndarray, known_n1: np.ndarray) -> np.ndarray:
        known.append(known_n1)
        return np.where(known_n1[:, np.newaxis], rows_n1D, 7.0)

    values = carried_over(first, Prepared.load(run.artifact("prepare")), beside)
    others = [
        (v.numpy(), value) for n, (v, value) in enumerate(zip(before.trainable, values, strict=True)) if n != place
    ]
    assert all(np.array_equal(ours, theirs) for ours, theirs in others)
    # Row 0 stands for whatever is new; items 1 to 19 are known; "fresh" has the index of an item that left.
    assert known[0].tolist() == [False, *[True] * (ITEMS - 1), False]
    assert np.array_equal(values[place][1:ITEMS], table.numpy()[1:ITEMS])
    assert (values[place][ITEMS] == 7.0).all()
