"""What a step of `train.trainer` reads of an item whose id is hidden, and that it learns from where it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.sections import Train
from pipeline.core.settings import Settings
from pipeline.model.features import Item, Query, encode_items
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


def test_an_item_nobody_met_is_told_from_a_new_one_by_its_age_once_it_is_no_longer_new(prepared_shop: Artifact) -> None:
    from pipeline.train.learn import prepare_training, tower_config

    prepared = Prepared.load(prepared_shop)
    ages = [500, 6, 7, None]
    items = [replace(item, age_days=ages[n] if n < 4 else 500) for n, item in enumerate(prepared.items)]
    unmet = np.where(np.arange(21) < 5, 0, prepared.probability_n1)
    met_N = np.where(prepared.items_N < 5, 5, prepared.items_N)
    prepared = replace(prepared, items=items, probability_n1=unmet / unmet.sum(), items_N=met_N)
    settings = Settings(train=SMALL)
    trainer, _ = prepare_training(settings, prepared, tower_config(settings, prepared))
    table = trainer.learning.item.get_layer("age_table").embeddings
    table.assign(np.random.default_rng(1).normal(size=table.shape))
    trainer.learning.item.get_layer("item_output").kernel.assign_add(np.ones((8, 8)))
    # 500 days, new, seven days, not known: nobody met the first four items, so only their ids are hidden.
    told = [500, 0, 7, None]
    seen = [replace(item, index=0, age_days=age) for item, age in zip(items[:4], told, strict=True)]
    inputs = encode_items(trainer.config, seen)
    expected = trainer.learning.item([inputs[spec.name] for spec in trainer.learning.item.inputs]).numpy()
    assert np.allclose(trainer._vectors(np.arange(1, 5), np.zeros(4, bool)), expected, atol=1e-6)


def test_where_it_is_asked_is_learnt_where_only_that_tells_what_comes_next() -> None:
    from pipeline.train.export import ranker_of
    from pipeline.train.learn import prepare_training, tower_config

    # Everybody meets item 1; then those of country a meet 2, those of b meet 3.
    users, countries = 64, ["country=a", "country=b"]
    where_U = np.arange(users) % 2
    items_N = np.stack([np.ones(users), 2 + where_U], 1).astype(np.int32).ravel()
    prepared = Prepared(
        items=[Item(n, f"i{n}") for n in (1, 2, 3)],
        probability_n1=np.array([0, 0.5, 0.25, 0.25]),
        items_N=items_N,
        types_N=np.ones(2 * users, np.uint8),
        times_N=np.arange(2 * users) * 60,
        contexts_N=np.repeat(where_U, 2).astype(np.int32),
        offsets_S1=np.arange(0, 2 * users + 1, 2),
        targets_T=np.arange(2 * users),
        queries_T=np.full(2 * users, -1, np.int32),
        searched_T=np.full(2 * users, -1),
        exposed_X=np.zeros(0, np.int32),
        exposed_offsets_T1=np.zeros(2 * users + 1, np.int64),
        queries=[],
        contexts=countries,
    )
    settings = Settings(train=SMALL.model_copy(update={"learning_rate": 0.05, "epochs": 20}))
    trainer, examples = prepare_training(settings, prepared, tower_config(settings, prepared))
    for epoch in range(20):
        order_T = examples.order(epoch)
        for step in range(examples.steps):
            trainer.step(examples.batch(order_T, epoch, step), epoch * examples.steps + step)
    asked = [Query(["i1"], ["view"], context=country) for country in countries]
    assert ranker_of(trainer, prepared).rank(asked, 1, exclude_seen=True) == [["i2"], ["i3"]]
