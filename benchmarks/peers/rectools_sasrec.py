"""RecTools' SASRec (Kang & McAuley 2018), by its own model, losses and trainer.

Its documentation's tutorial takes 256 factors, 2 blocks, 4 heads, 100 items, softmax over the whole catalogue; its
benchmark of losses adds gBCE and sampled softmax with 256 negatives. Sampled losses make an epoch affordable on a CPU,
few negatives and sessions as long as most make many: the first settings are those, the others are drawn.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.peers.search import Histories, Scores, Settings, Task, main

USUAL = 0
"""As long as nine of ten sequences."""
LEAST_LENGTH, MOST_LENGTH = 10, 100
FIRST = {
    "n_factors": 64, "n_blocks": 2, "n_heads": 4, "session_max_len": USUAL, "loss": "sampled_softmax",
    "n_negatives": 32, "gbce_t": 0.2, "lr": 0.001, "dropout_rate": 0.2, "batch_size": 128,
}  # fmt: skip
CHOICES = {
    "n_factors": [64, 128, 256],
    "n_blocks": [1, 2],
    "n_heads": [2, 4],
    "session_max_len": [USUAL, 20, 50, 100],
    "loss": ["sampled_softmax", "gBCE", "softmax"],
    "n_negatives": [32, 64, 128, 256],
    "gbce_t": [0.2, 0.75],
    "lr": [0.0005, 0.001, 0.003],
    "dropout_rate": [0.1, 0.2, 0.4],
    "batch_size": [64, 128, 256],
}
EPOCHS, PATIENCE = 100, 3
QUERIES_PER_CALL = 512
UNKNOWN = -1e9


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    seed_everything(task.seed)
    training = task.training
    usual = int(np.quantile(np.diff(training.offsets), 0.9))
    length = settings["session_max_len"] or min(max(usual, LEAST_LENGTH), MOST_LENGTH)
    settings = {**settings, "session_max_len": length}
    frame = pd.DataFrame({
        # The model trains on the last items of a user alone, so longer sequences are several users.
        Columns.User: pieces(training, settings["session_max_len"] + 1),
        Columns.Item: training.items,
        Columns.Weight: 1.0,
        # Places keep the order of what has one time.
        Columns.Datetime: pd.to_datetime(np.arange(len(training.items)), unit="s"),
    })  # fmt: skip
    dataset = Dataset.construct(frame)
    model = SASRecModel(**settings, get_trainer_func=trainer)
    best, stale = -1.0, 0
    for epoch in range(1, EPOCHS + 1):
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        yield {"epoch": epoch}, scorer(model, task.items)
        stale = 0 if task.newest > best else stale + 1
        best = max(best, task.newest)
        if stale >= PATIENCE:
            return


def pieces(training: Histories, length: int) -> np.ndarray:
    """Returns int64 [events]: which piece of at most so many events of one sequence each belongs to."""
    within = np.arange(len(training.items)) - training.offsets[training.row_of]
    return np.cumsum(within % length == 0) - 1


def trainer() -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        min_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def scorer(model: SASRecModel, items: int) -> Scores:
    """Scores as the model's own `recommend` does; items it left out of its vocabulary never come."""
    preparator = model.data_preparator
    inner = np.asarray(preparator.get_known_items_sorted_internal_ids())
    outer = np.asarray(preparator.item_id_map.convert_to_external(inner)).astype(np.int64)
    inner_of = np.zeros(items, np.int64)
    inner_of[outer] = inner
    length, net = preparator.session_max_len, model.torch_model

    def scores(histories: Histories) -> np.ndarray:
        x = np.zeros((len(histories), length), np.int64)
        for row, met in enumerate(histories.rows):
            told = inner_of[met]
            told = told[told > 0][-length:]
            x[row, length - len(told) :] = told
        found = np.full((len(histories), items), UNKNOWN, np.float32)
        net.eval()
        with torch.no_grad():
            vectors = net.item_model.get_all_embeddings()
            candidates = net.similarity_module.item_tower_forward(vectors)[torch.as_tensor(inner)]
            for begin in range(0, len(x), QUERIES_PER_CALL):
                rows = slice(begin, begin + QUERIES_PER_CALL)
                states = net.encode_sessions({"x": torch.as_tensor(x[rows])}, vectors)[:, -1, :]
                states = net.similarity_module.session_tower_forward(states)
                found[rows, outer] = (states @ candidates.T).numpy()
        return found

    return scores


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(2)
    main(fit, FIRST, CHOICES)
