"""A training set from which some items were taken, as if they had just been listed and nobody had met them yet.

Shapes: n items, N events, S sequences, T targets, X items shown before targets.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.core.artifacts import MANIFEST, Artifact, build, digest_of
from pipeline.core.run import Run

SEED = 11
SEQUENCES = (
    *("sequence_items", "sequence_types", "sequence_times", "sequence_contexts", "sequence_offsets"),
    *("targets", "target_queries", "target_searched"),
)
EXPOSED = ("exposed_items", "exposed_offsets")


def drawn_items(prepared: Artifact, share: float) -> np.ndarray:
    """Returns int64, ascending: the indices of so large a share of the items, drawn evenly."""
    items = parquet.read_metadata(prepared.file("items.parquet")).num_rows
    return np.sort(np.random.default_rng(SEED).permutation(items)[: round(items * share)]) + 1


def prepare_without(prepared: Artifact, cold: np.ndarray, run: Run) -> Artifact:
    """Gives the run a training set whose sequences and targets lack those items; evaluation queries stay.

    Args:
        cold: int64, item indices.
    """
    path = run.layout.artifact("prepare", digest_of([prepared.key, *cold.tolist()]))
    made = build(path, lambda folder: _fill(prepared, cold, folder))
    run.refer("prepare", made.key)
    return made


def _fill(prepared: Artifact, cold: np.ndarray, folder: Path) -> None:
    shutil.copytree(prepared.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    items_N, types_N, times_N, contexts_N, offsets_S1, targets_T, queries_T, searched_T = (
        np.load(prepared.file(f"{name}.npy")) for name in SEQUENCES
    )
    kept_N = ~np.isin(items_N, cold)
    kept_T = kept_N[targets_T]
    before_N1 = np.concatenate([[0], np.cumsum(kept_N)])
    targets_T, items_N = before_N1[targets_T[kept_T]], items_N[kept_N]
    altered = (
        items_N,
        types_N[kept_N],
        times_N[kept_N],
        contexts_N[kept_N],
        np.unique(before_N1[offsets_S1]),
        targets_T,
        queries_T[kept_T],
        np.where(searched_T >= 0, before_N1[searched_T], -1)[kept_T],
    )
    altered += _exposed(*(np.load(prepared.file(f"{name}.npy")) for name in EXPOSED), kept_T, cold)
    for name, values in zip(SEQUENCES + EXPOSED, altered, strict=True):
        np.save(folder / f"{name}.npy", values)
    _recount(folder / "items.parquet", items_N, items_N[targets_T])


def _exposed(
    items_X: np.ndarray, offsets_T1: np.ndarray, kept_T: np.ndarray, cold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what was shown before the targets that are kept, the cold items left out."""
    target_X = np.repeat(np.arange(len(kept_T)), np.diff(offsets_T1))
    kept_X = kept_T[target_X] & ~np.isin(items_X, cold)
    counts_T = np.bincount(target_X[kept_X], minlength=len(kept_T))[kept_T]
    return items_X[kept_X], np.concatenate([[0], np.cumsum(counts_T)])


def _recount(path: Path, items_N: np.ndarray, targets_T: np.ndarray) -> None:
    """Writes how often each item is met, its share of the targets and its age, as training now has it."""
    table = parquet.read_table(path).sort_by("index")
    events_n, targets_n = (np.bincount(met, minlength=len(table) + 1)[1:] for met in (items_N, targets_T))
    found = {
        "events": events_n,
        "probability": targets_n / max(len(targets_T), 1),
        "age_days": np.where(events_n > 0, table["age_days"], 0),
    }
    for name, values in found.items():
        column = table.schema.get_field_index(name)
        table = table.set_column(column, name, pa.array(values, table.schema.field(name).type))
    parquet.write_table(table, path)
