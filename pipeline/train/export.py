"""Everything `train` hands on, written to its artifact's folder.

Shapes: n items, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.model.features import encode_queries
from pipeline.train.prepared import Prepared
from pipeline.train.trainer import Trainer
from pipeline.train.validation import VectorRanker


def known_inputs(inputs: Mapping[str, np.ndarray], probability_n1: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the item tower's inputs with the id of items that were no target hidden: they live by content alone."""
    return {**inputs, "item": np.where(probability_n1 > 0, inputs["item"], 0).astype(np.int32)}


def ranker_of(trainer: Trainer, prepared: Prepared) -> VectorRanker:
    """Returns exact retrieval with the weights as they are now."""
    vectors_n1D = trainer.item_vectors(known_inputs(trainer.item_inputs, prepared.probability_n1))
    trainer.read_histories_with(vectors_n1D)
    ids = [item.item_id for item in prepared.items]
    index = {item.item_id: item.index for item in prepared.items}
    encode = partial(encode_queries, trainer.config, index)
    return VectorRanker(ids, vectors_n1D[1:], lambda queries: trainer.query_vectors(encode(queries)))


def save_towers(out: Path, trainer: Trainer, prepared: Prepared) -> None:
    """Writes configuration, weights and item vectors; leaves the trainer's item table changed.

    The rows of items that were no target become row 0, the new item's, so that whoever encodes them by index gets the
    same vector as here. The query tower reads histories in these vectors.
    """
    trainer.config.save(out / "towers.json")
    table = trainer.towers.item.get_layer("item_id_table").embeddings
    rows = table.numpy()
    rows[1:][prepared.probability_n1[1:] == 0] = rows[0]
    table.assign(rows)
    trainer.towers.item.save_weights(str(out / "item_tower.weights.h5"))
    vectors_nD = trainer.item_vectors(trainer.item_inputs)
    vectors_nD[0] = 0.0
    trainer.read_histories_with(vectors_nD)
    trainer.towers.query.save_weights(str(out / "query_tower.weights.h5"))
    np.save(out / "item_vectors.npy", vectors_nD)
