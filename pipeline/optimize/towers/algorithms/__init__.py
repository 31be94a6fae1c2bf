"""Algorithms that change a query tower before it is converted: one module each, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.core.sections import Optimize
    from pipeline.model.config import TowerConfig
    from pipeline.optimize.towers.distil import Lessons


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    Attributes:
        name: of its module in this folder, which holds `apply(tower, plan)`.
        learns: whether it asks for lessons.
        settings: fields of the optimize section that change what it makes.
        doc: one line for tables and pages.
        source: where it is described.
    """

    name: str
    learns: bool
    settings: tuple[str, ...]
    doc: str
    source: str


@dataclass(frozen=True)
class Plan:
    """What an algorithm may use; the same plan and tower give the same answer.

    Attributes:
        lessons: gives the float tower's answers on real queries; costs a pass over them, so only who learns asks.
        steps: of fine-tuning, 0 for none.
        config: of the tower the recipe began with.
    """

    lessons: Callable[[], Lessons]
    steps: int
    seed: int
    settings: Optimize
    config: TowerConfig


_TF_MOT = "https://www.tensorflow.org/model_optimization/guide/"
_TABLE = (
    Algorithm(
        "prune",
        True,
        ("sparsity", "finetune_epochs"),
        "The smallest Dense weights go to zero step by step (TF-MOT).",
        "https://arxiv.org/abs/1710.01878",
    ),
    Algorithm(
        "prune_neurons",
        True,
        ("neuron_sparsity", "finetune_epochs"),
        "The hidden units the next layer misses least are cut out, so matrices get smaller.",
        "https://arxiv.org/abs/1707.06342",
    ),
    Algorithm(
        "cluster",
        True,
        ("clusters", "finetune_epochs"),
        "The weights of a Dense kernel share a few values (TF-MOT); zeros stay.",
        "https://arxiv.org/abs/1510.00149",
    ),
    Algorithm(
        "quantize_aware",
        True,
        ("finetune_epochs",),
        "Dense layers learn under 8 bit rounding (TF-MOT); zeros stay.",
        "https://arxiv.org/abs/1712.05877",
    ),
    Algorithm(
        "preserve_quantize_aware",
        True,
        ("finetune_epochs",),
        "Dense layers learn under 8 bit rounding (TF-MOT); zeros and shared values stay.",
        _TF_MOT + "combine/collaborative_optimization",
    ),
    Algorithm(
        "factorise",
        True,
        ("rank_share", "finetune_epochs"),
        "Dense kernels become products of two thin matrices where that is smaller.",
        "https://www.isca-archive.org/interspeech_2013/xue13_interspeech.html",
    ),
    Algorithm(
        "student",
        True,
        ("finetune_epochs",),
        "A tower without attention blocks and with half the hidden units learns the tower's answers.",
        "https://arxiv.org/abs/1503.02531",
    ),
    Algorithm(
        "heal",
        True,
        ("finetune_epochs",),
        "Dense layers learn to give the float tower's answers from compressed tables.",
        "https://arxiv.org/abs/1503.02531",
    ),
)

ALGORITHMS = {algorithm.name: algorithm for algorithm in _TABLE}


def apply(name: str, tower: Any, plan: Plan) -> Any:
    """Returns a changed copy of a query tower; the one given stays as it is."""
    return import_module(f"{__name__}.{ALGORITHMS[name].name}").apply(tower, plan)
