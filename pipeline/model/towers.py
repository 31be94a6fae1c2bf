"""Both towers as functional tf_keras models, so that TF-MOT can prune and quantize their Dense layers.

A history is read in the items' own vectors: the query tower's item table holds what the item tower gives, and its
answer is a weighted sum of them plus what a small head adds, so that queries and items live in one space and an item
met for the first time is understood by its content (Hou et al. 2022, section 3). Which events count is decided by
causal attention over items and event types (Vaswani et al. 2017, section 3.2; a learned number for every
distance in place of positions, as Raffel et al. 2020, section 2.1). Everything else is table look-ups. The vector is
brought to unit length.

In training one pass over a window of events gives the query at every place (`Towers.history`); in serving only the
newest place is computed. Annotate Dense layers for pruning or quantization inside `parts.layer_scope()`.

Shapes: B queries, W windows, S events of a window, L history length, T text length, C category levels or pairs of a
context, D dim, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.schema import EVENT_TYPES, MOST_CONTEXT
from pipeline.model.config import TowerConfig
from pipeline.model.features import BANDS
from pipeline.model.keras import keras, tf
from pipeline.model.parts import (
    Attention,
    FirstPart,
    Newest,
    Rows,
    StepDropout,
    TablePooling,
    TextPooling,
    Total,
    UnitLength,
    WherePresent,
)

layers = keras.layers
WORD_LENGTH = 1.0
"""Of a word's vector at the start."""
ASKED_WORDS = 6.0
"""How much more the words of a query weigh than those of a title: else the history drowns them."""
GATE_BIAS = 2.0
"""At the start the history counts by .88, whatever is typed."""


def dense_layers(tower: keras.Model) -> list[str]:
    """Returns the names of the layers that can be pruned and quantized."""
    return [layer.name for layer in tower.layers if isinstance(layer, layers.Dense)]


@dataclass(frozen=True)
class Towers:
    """One model in the forms it is used in; all share their weights but for the query tower's item table.

    Attributes:
        query: `features.encode_queries` to float32 [B, D]; its item table is filled from the item tower's answers.
        item: `features.encode_items` to float32 [B, D].
        history: what `query` makes of every place of a window: vectors [W, S, D], items, types, pauses and how long
            after each place it is asked [W, S] to features [W, S, 2 D].
        head: features [B, 2 D], text [B, T] and, where the log has them, contexts [B, C] to float32 [B, D].
    """

    query: keras.Model
    item: keras.Model
    history: keras.Model
    head: keras.Model

    @property
    def trainable(self) -> list[tf.Variable]:
        """Returns every variable that learns, once each."""
        variables = [v for model in (self.item, self.history, self.head) for v in model.trainable_variables]
        return list({id(variable): variable for variable in variables}.values())


def build_towers(config: TowerConfig, dropout: float = 0.0, step: tf.Variable | None = None) -> Towers:
    """Returns the model in all its forms.

    Args:
        step: int64, the number of the step; what is dropped hangs on it.
    """
    words, drops = _Words(config), _Drops(dropout, step)
    reading, head = _History(config, drops), _Head(config, drops)
    vectors_WSD = keras.Input((None, config.dim), name="item_vectors")
    events_WS, now_WS = _events(None), _now(None)
    features_WSF = reading(vectors_WSD, *events_WS, now_WS, learning=True)
    history = keras.Model([vectors_WSD, *events_WS, now_WS], features_WSF, name="history")
    # What learns reads texts as long as the log's longest.
    length = None if step is not None else config.text_length
    features_BF, text_BT = keras.Input((2 * config.dim,), name="features"), _text(length, "query_text")
    context = _context(config)
    answer_BD = head(features_BF, words(text_BT, "query_words"), context, learning=True)
    asking = keras.Model([features_BF, text_BT, *context], answer_BD, name="head")
    return Towers(_query_tower(config, words, reading, head), _item_tower(config, words, length), history, asking)


def build_query_tower(config: TowerConfig) -> keras.Model:
    """Returns the model from `features.encode_queries` to float32 [B, D] of unit length."""
    return _query_tower(config, _Words(config), _History(config, _Drops()), _Head(config, _Drops()))


def build_item_tower(config: TowerConfig) -> keras.Model:
    """Returns the model from `features.encode_items` to float32 [B, D] of unit length."""
    return _item_tower(config, _Words(config), config.text_length)


def _query_tower(config: TowerConfig, words: _Words, reading: _History, head: _Head) -> keras.Model:
    events_BL, now_B1 = _events(config.history_length), _now(1)
    text_BT = _text(config.text_length, "query_text")
    vectors_BLD = layers.Embedding(config.items + 1, config.dim, name="item_table")(events_BL[0])
    features_B1F = reading(vectors_BLD, *events_BL, now_B1, learning=False)
    features_BF = layers.Reshape((2 * config.dim,), name="query_features")(features_B1F)
    context = _context(config)
    answer_BD = head(features_BF, words(text_BT, "query_words"), context, learning=False)
    return keras.Model([*events_BL, now_B1, text_BT, *context], answer_BD, name="query_tower")


def _item_tower(config: TowerConfig, words: _Words, text_length: int | None) -> keras.Model:
    item_B = keras.Input((), dtype="int32", name="item")
    category_BC = keras.Input((config.category_levels,), dtype="int32", name="category")
    brand_B = keras.Input((), dtype="int32", name="brand")
    title_BT = _text(text_length, "title")
    price_B, age_B = (keras.Input((), dtype="int32", name=name) for name in ("price_band", "age"))
    id_BD = layers.Embedding(config.items + 1, config.dim, name="item_id_table")(item_B)
    path = layers.Embedding(config.category_buckets + 1, config.content_dim, name="category_table")(category_BC)
    brand = layers.Embedding(config.brand_buckets + 1, config.content_dim, name="brand_table")(brand_B)
    price = layers.Embedding(len(config.price_edges) + 2, config.content_dim, name="price_table")(price_B)
    age = layers.Embedding(BANDS + 1, config.content_dim, embeddings_initializer="zeros", name="age_table")(age_B)
    title_BD = words(title_BT, "title_words")
    content = [layers.Flatten(name="category_path")(path), brand, title_BD, price, age]
    inputs, parts = [item_B, category_BC, brand_B, title_BT, price_B, age_B], [id_BD, title_BD]
    if config.vector_dim:
        vector_BV = keras.Input((config.vector_dim,), name="vector")
        turned = layers.Dense(config.dim, use_bias=False, kernel_initializer="zeros", name="item_vector")
        inputs, parts, content = [*inputs, vector_BV], [*parts, turned(vector_BV)], [*content, vector_BV]
    joined = layers.Concatenate(name="item_features")([id_BD, *content])
    hidden = layers.Dense(config.hidden_units, activation="relu", name="item_hidden")(joined)
    learnt_BD = layers.Dense(config.dim, kernel_initializer="zeros", name="item_output")(hidden)
    summed_BD = layers.Add(name="item_sum")([*parts, learnt_BD])
    whole_BD = UnitLength(name="unit_length", dtype="float32")(summed_BD)
    return keras.Model(inputs, whole_BD, name="item_tower")


def _events(length: int | None) -> list[Any]:
    return [keras.Input((length,), dtype="int32", name=f"history_{name}") for name in ("items", "types", "pauses")]


def _now(length: int | None) -> Any:
    return keras.Input((length,), dtype="int32", name="now_pause")


def _text(length: int | None, name: str) -> Any:
    return keras.Input((length,), dtype="int32", name=name)


def _context(config: TowerConfig) -> list[Any]:
    """Returns the input of a context's pairs; none where the log has no contexts."""
    there = bool(config.context_buckets)
    return [keras.Input((MOST_CONTEXT,), dtype="int32", name="query_context") for _ in range(there)]


class _Drops:
    """Makes the dropout layers, each with a seed of its own; none where nothing is dropped."""

    def __init__(self, rate: float = 0.0, step: tf.Variable | None = None) -> None:
        self.rate, self.step, self.made = rate, step, 0

    def __call__(self, vectors: tf.Tensor, learning: bool) -> tf.Tensor:
        if not (learning and self.rate and self.step is not None):
            return vectors
        self.made += 1
        return StepDropout(self.rate, self.made, self.step, name=f"dropout_{self.made}")(vectors)


class _Words:
    """Words and n-grams, which queries and titles share."""

    def __init__(self, config: TowerConfig) -> None:
        start = keras.initializers.RandomNormal(stddev=WORD_LENGTH * config.dim**-0.5)
        self.table = layers.Embedding(
            config.text_buckets + 1, config.dim, embeddings_initializer=start, name="text_table"
        )
        self.weight = layers.Embedding(
            config.text_buckets + 1, 1, embeddings_initializer="zeros", name="text_weight_table"
        )

    def __call__(self, ids_BT: tf.Tensor, name: str) -> tf.Tensor:
        if ids_BT.shape[1]:
            return TextPooling(name=name)([self.table(ids_BT), self.weight(ids_BT), ids_BT])
        # Texts of any length are what learns: it would spend a quarter of its time on copies of rows, one a place.
        rows_V = Rows(self.table.input_dim, name=f"{name}_rows")(ids_BT)
        return TablePooling(name=name)([self.table(rows_V), self.weight(rows_V), ids_BT])


class _History:
    """From events to features: the sum of the items that count, beside what the newest place has come to mean."""

    def __init__(self, config: TowerConfig, drops: _Drops) -> None:
        dim, heads, length = config.dim, config.heads, config.history_length
        self.types = layers.Embedding(len(EVENT_TYPES) + 1, dim, name="type_table")
        self.pauses, self.now = (
            layers.Embedding(BANDS + 1, dim, embeddings_initializer="zeros", name=f"{name}_table")
            for name in ("pause", "now")
        )
        self.scale = dim**0.5
        self.blocks = [_Block(config, number, drops) for number in range(config.blocks)]
        self.norm = layers.LayerNormalization(name="history_norm")
        self.asks = layers.Dense(dim, name="history_query")
        self.shows = layers.Dense(dim, name="history_key")
        self.recall = Attention(heads, length, split_values=False, name="history")
        self.drops = drops

    def __call__(
        self,
        vectors_BSD: tf.Tensor,
        items_BS: tf.Tensor,
        types_BS: tf.Tensor,
        pauses_BS: tf.Tensor,
        now_BQ: tf.Tensor,
        learning: bool,
    ) -> tf.Tensor:
        vectors_BSD = self.drops(vectors_BSD, learning)
        scaled = layers.Rescaling(self.scale, name="scaled_events")(vectors_BSD)
        events_BSD = layers.Add(name="events")([scaled, self.types(types_BS), self.pauses(pauses_BS)])
        at_BQD, keys_BSD = events_BSD, self.norm(events_BSD)
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1
            at_BQD = block(at_BQD, items_BS, learning, newest_only=last and not learning)
        if not (learning or self.blocks):
            at_BQD = Newest(name="newest")(at_BQD)
        at_BQD = self.norm(layers.Add(name="asked")([at_BQD, self.now(now_BQ)]))
        met_BQD = self.recall([self.asks(at_BQD), self.shows(keys_BSD), vectors_BSD, items_BS])
        present_BQ = items_BS if learning else Newest(name="newest_item")(items_BS)
        return WherePresent(name="features")([layers.Concatenate(name="met_and_meant")([met_BQD, at_BQD]), present_BQ])


class _Block:
    """One layer of self-attention and one of a hidden layer, each added to what came in (Xiong et al. 2020)."""

    def __init__(self, config: TowerConfig, number: int, drops: _Drops) -> None:
        dim, name = config.dim, f"block_{number}"
        self.name = name
        self.attended, self.thought = (layers.LayerNormalization(name=f"{name}_norm_{n}") for n in (1, 2))
        self.asks, self.shows, self.tells = (
            layers.Dense(dim, name=f"{name}_{what}") for what in ("query", "key", "value")
        )
        self.attention = Attention(config.heads, config.history_length, name=f"{name}_attention")
        self.joins = layers.Dense(dim, kernel_initializer="zeros", name=f"{name}_join")
        self.widens = layers.Dense(2 * dim, activation="relu", name=f"{name}_hidden")
        self.narrows = layers.Dense(dim, kernel_initializer="zeros", name=f"{name}_output")
        self.drops = drops

    def __call__(self, events_BSD: tf.Tensor, ids_BS: tf.Tensor, learning: bool, newest_only: bool) -> tf.Tensor:
        normed_BSD = self.attended(events_BSD)
        keys, values = self.shows(normed_BSD), self.tells(normed_BSD)
        if newest_only:
            events_BSD = Newest(name=f"{self.name}_newest")(events_BSD)
            normed_BSD = Newest(name=f"{self.name}_asking")(normed_BSD)
        told = self.joins(self.attention([self.asks(normed_BSD), keys, values, ids_BS]))
        events_BSD = layers.Add()([events_BSD, self.drops(told, learning)])
        thought_BSD = self.narrows(self.widens(self.thought(events_BSD)))
        return layers.Add()([events_BSD, self.drops(thought_BSD, learning)])


class _Head:
    """From features and words to the vector: items met plus words asked for, plus what two Dense layers add.

    A gate decides how much what was met counts beside what is typed. A context is added as it is, and read beside both.
    """

    def __init__(self, config: TowerConfig, drops: _Drops) -> None:
        self.dim = config.dim
        open_ = keras.initializers.Constant(GATE_BIAS)
        self.gate = layers.Dense(
            1, activation="sigmoid", kernel_initializer="zeros", bias_initializer=open_, name="history_gate"
        )
        self.drops = drops
        self.hidden = layers.Dense(config.hidden_units, activation="relu", name="hidden")
        self.output = layers.Dense(config.dim, kernel_initializer="zeros", name="output")
        self.contexts = layers.Embedding(
            config.context_buckets + 1, config.dim, embeddings_initializer="zeros", name="context_table"
        )

    def __call__(
        self, features_BF: tf.Tensor, words_BD: tf.Tensor, context: Sequence[tf.Tensor], learning: bool
    ) -> tf.Tensor:
        words_BD = layers.Rescaling(ASKED_WORDS, name="asked_words")(words_BD)
        shown_BF = self.drops(features_BF, learning)
        gate_B1 = self.gate(layers.Concatenate(name="features_and_words")([shown_BF, words_BD]))
        met_BD = FirstPart(self.dim, name="met")(layers.Multiply(name="gated_features")([features_BF, gate_B1]))
        gated_BF = layers.Multiply(name="gated_shown")([shown_BF, gate_B1])
        said = [Total(name="context")(WherePresent(name="said")([self.contexts(ids_BC), ids_BC])) for ids_BC in context]
        learnt_BD = self.output(self.hidden(layers.Concatenate(name="all_features")([gated_BF, words_BD, *said])))
        summed_BD = layers.Add(name="sum")([met_BD, words_BD, learnt_BD, *said])
        return UnitLength(name="unit_length", dtype="float32")(summed_BD)
