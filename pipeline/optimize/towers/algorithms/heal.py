"""Fine-tuning after the tables were compressed: Dense layers learn to give the float tower's answers from them.

The lessons' answers are those of the float tables, so what coding and decoding changed is what there is to learn.

Source: Hinton et al. 2015, section 2, with vectors in place of logits.
"""

from __future__ import annotations

from pipeline.model.keras import keras
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import copy_of


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy whose Dense layers were fine-tuned."""
    healed = copy_of(tower)
    learn(healed, plan)
    return healed
