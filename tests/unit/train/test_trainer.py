"""What a step of `train.trainer` reads of an item whose id is hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.sections import Train
from pipeline.core.settings import Settings
from pipeline.model.features import encode_items
from pipeline.train.prepared import Prepared

SMALL = Train(dim=8, hidden_units=8, text_buckets=64, batch_size=32, uniform_negatives=8, history_length=4, dropout=0)


def test_an_item_whose_id_is_hidden_is_what_it_would_be_had_nobody_met_it(prepared_shop: Artifact) -> None:
    import tensorflow as tf

    from pipeline.train.learn import prepare_training, tower_config

    prepared = Prepared.load(prepared_shop)
    prepared = replace(prepared, items=[replace(item, age_days=500) for item in prepared.items])
    settings = Settings(train=SMALL)
    trainer, _ = prepare_training(settings, prepared, tower_config(settings, prepared))
    ages = trainer.learning.item.get_layer("age_table").embeddings
    ages.assign(np.random.default_rng(1).normal(size=ages.shape))
    trainer.learning.item.get_layer("item_output").kernel.assign_add(tf.ones((8, 8)))
    unmet = encode_items(trainer.config, [replace(item, index=0, age_days=0) for item in prepared.items])
    expected = trainer.learning.item([unmet[spec.name] for spec in trainer.learning.item.inputs]).numpy()
    items, hidden = tf.range(1, 21), tf.zeros(20, tf.bool)
    assert np.allclose(trainer._vectors(items, hidden), expected, atol=1e-6)
    # By their ids and 500 days they lie elsewhere.
    assert not np.allclose(trainer._vectors(items, ~hidden), expected, atol=0.1)
