"""Distillation into a smaller tower: no attention blocks, half the hidden units.

It starts from the tower's tables and all layers that have the same shapes. Everything learns but the tables of vectors,
which are stored apart and answer for items as well.

Source: Hinton et al. 2015, section 2, with vectors in place of logits.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.model.keras import keras
from pipeline.model.towers import build_query_tower
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import copy_weights

STORED = ("item_table", "text_table", "text_weight_table")
HIDDEN_SHARE = 0.5
LEARNING_RATE = 2e-3
"""More than fine-tuning's: half of it starts anew."""


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a smaller tower with the same inputs that learnt to give the tower's answers."""
    keras.utils.set_random_seed(plan.seed)  # for the layers that start anew
    hidden = max(1, int(plan.config.hidden_units * HIDDEN_SHARE))
    student = build_query_tower(replace(plan.config, blocks=0, hidden_units=hidden))
    copy_weights(tower, student)
    learn(student, plan, lambda layer: layer.name not in STORED, LEARNING_RATE)
    return student
