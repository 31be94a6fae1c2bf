"""Where a night's training starts: with what the champion's training learned, or from scratch; and why.

A warm start takes over every weight. Rows of items go by item id, so it does not matter from which vocabulary tonight's
grew; an item the champion did not learn starts beside the items it was met with. The towers keep the champion's price
bands, for its weights know them by number.

What a night starts from is among its inputs, and is the champion of an earlier data end: so a night repeated after its
own promotion finds what it made, and no run marked as-of learns from what came later.

Shapes: n items tonight, m items then, D dim.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact, code_digest
from pipeline.core.errors import PipelineError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.model.config import TowerConfig
from pipeline.store.erasures import Erasures
from pipeline.store.ledger import Entry, Ledger, stood
from pipeline.train.prepared import Prepared, context_buckets, vector_dim

STAGE = "train"
START, ITEM_IDS = "start.json", "item_ids.parquet"


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        reason: why so, for the report.
        trained: the training whose weights are taken over; None from scratch.
        nights: warm starts in a row, this one included; 0 from scratch.
    """

    reason: str
    trained: Artifact | None = None
    nights: int = 0

    @property
    def inputs(self) -> dict[str, str]:
        return {"start": self.trained.digest} if self.trained else {}

    @property
    def sentence(self) -> str:
        return f"Started {'from the champion' if self.trained else 'from scratch'}: {self.reason}."

    def settings(self, settings: Settings) -> Settings:
        """Returns the settings with the sizes, the epochs and the learning rate of this start."""
        train = settings.train
        if not self.trained:
            return settings
        shape = TowerConfig.load(self.trained.file("towers.json"))
        changed = {
            "dim": shape.dim,
            "hidden_units": shape.hidden_units,
            "history_length": shape.history_length,
            "epochs": min(train.warm_epochs, train.epochs),
            "learning_rate": train.warm_learning_rate,
        }
        return settings.model_copy(update={"train": train.model_copy(update=changed)})

    def save(self, out: Path, settings: Settings, prepared: Artifact) -> None:
        """Writes what a later night must know to start from this training."""
        facts = {
            "reason": self.reason,
            "from": {"train_key": self.trained.key, "digest": self.trained.digest} if self.trained else None,
            "nights": self.nights,
            "learned_until": prepared.json("split.json")["validation_start"],
            "made_with": _made_with(settings, prepared),
        }
        (out / START).write_text(json.dumps(facts, indent=1))
        items = parquet.read_table(prepared.file("items.parquet"), columns=["index", "item_id"]).sort_by("index")
        parquet.write_table(items.select(["item_id"]), out / ITEM_IDS)


def find_start(settings: Settings, run: Run, prepared: Artifact) -> Start:
    """Decides what this night starts from.

    Raises: UnavailableError: the ledger does not answer.
    """
    every = settings.train.scratch_every_nights
    if every == 1:
        return Start("train.scratch_every_nights is 1")
    split = prepared.json("split.json")
    champion = _earlier_champion(settings, split["data_end"])
    if champion is None:
        return Start("no champion stands whose data ended earlier")
    trained = _training_of(settings, run, champion)
    if isinstance(trained, str):
        return Start(trained)
    made = trained.json(START)
    if unlike := _unlike(made["made_with"], _made_with(settings, prepared)):
        return Start(unlike)
    if _moment(made["learned_until"]) > _moment(split["validation_start"]):
        return Start(f"the champion learned from events until {made['learned_until']}, which this night validates with")
    if made["nights"] + 1 >= every:
        return Start(f"train.scratch_every_nights is {every}")
    nights = made["nights"] + 1
    return Start(f"training {trained.key[:12]}, warm night {nights} of at most {every - 1}", trained, nights)


def _earlier_champion(settings: Settings, data_end: str) -> Entry | None:
    standing = stood(Ledger.open(settings.store).entries())
    earlier = [entry for entry in standing if entry.data_end and _moment(entry.data_end) < _moment(data_end)]
    return earlier[-1] if earlier else None


def _training_of(settings: Settings, run: Run, champion: Entry) -> Artifact | str:
    """Returns the artifact that the champion's towers come from, or why it is not to be had."""
    try:
        key = open_bundle(run.layout.bundle(champion.to_digest), champion.to_digest).manifest["keys"][STAGE]
    except PipelineError as error:
        return f"the champion's bundle cannot be read ({str(error).rstrip('.')})"
    if key in Erasures.open(settings).removed(STAGE):
        return "the champion's training knew a person who was forgotten"
    trained = Artifact(run.layout.artifact(STAGE, key))
    if not run.has(STAGE, key) or not (trained.path / START).exists():
        return f"the champion's training {key[:12]} is not in the store"
    return trained


def _made_with(settings: Settings, prepared: Artifact) -> dict[str, Any]:
    """Returns what two trainings must share for the weights of one to mean the same in the other."""
    train = {f"train.{name}": value for name, value in settings.keyed("train")["train"].items()}
    inputs = {
        "the vectors' length": vector_dim(prepared),
        "the number of context buckets": context_buckets(prepared.json("contexts.json")),
    }
    return {**train, **inputs, "code": code_digest(STAGE)}


def _unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns the first difference in words, or nothing."""
    for name in sorted(now.keys() | then.keys(), key=lambda name: (name == "code", name)):
        if then.get(name) != now.get(name):
            if name == "code":
                return "the code is not the one that trained the champion"
            return f"{name} is {now.get(name)} and was {then.get(name)} for the champion"
    return ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def grown_config(trained: Artifact, items: int) -> TowerConfig:
    """Returns the towers' shape for tonight's items, all else as it was."""
    return replace(TowerConfig.load(trained.file("towers.json")), items=items)


def carried_over(trained: Artifact, prepared: Prepared, beside: Any) -> list[np.ndarray]:
    """Returns the weights to start with, in the order of `Towers.trainable`.

    Args:
        beside: float32 [n + 1, D] and bool [n + 1] (which rows are known) to float32 [n + 1, D], from where the others
            start; None starts them where the towers see an item that nobody met.
    """
    from pipeline.model.towers import build_towers

    towers = build_towers(TowerConfig.load(trained.file("towers.json")))
    towers.item.load_weights(str(trained.file("item_tower.weights.h5")))
    towers.query.load_weights(str(trained.file("query_tower.weights.h5")))
    table = towers.item.get_layer("item_id_table").embeddings
    rows_m1D = table.numpy()
    then_n1 = _places_then(trained, prepared)
    rows_n1D = rows_m1D[then_n1]
    known_n1 = (then_n1 > 0) & (rows_n1D != rows_m1D[0]).any(axis=1)  # what was no target then has row 0
    rows_n1D[~known_n1] = rows_m1D[0]
    if beside is not None:
        rows_n1D = beside(rows_n1D, known_n1)
    return [rows_n1D if variable is table else variable.numpy() for variable in towers.trainable]


def _places_then(trained: Artifact, prepared: Prepared) -> np.ndarray:
    """Returns int64 [n + 1]: the index each item had then, 0 for new ones."""
    then = parquet.read_table(trained.file(ITEM_IDS))["item_id"].cast(pa.large_string()).combine_chunks()
    now = pa.array([item.item_id for item in prepared.items], pa.large_string())
    place_n = pc.index_in(now, value_set=then).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.concatenate([[0], place_n + 1])
