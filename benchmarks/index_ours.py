"""The item index as a contestant of `index`: `python -m benchmarks.index_ours FOLDER KIND` answers on its pipes."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.peers.nearest import K, serve, steps
from pipeline.model.item_index import ItemIndex
from pipeline.model.storage import KINDS


class Ours:
    """What a bundle holds. Its effort is the share of the top 100 of all lists that those looked at must find."""

    def __init__(self, kind: str, probes_QD: np.ndarray) -> None:
        self.kind, self.probes_QD = kind, probes_QD

    def build(self, vectors_nD: np.ndarray) -> None:
        self.index = ItemIndex.build(vectors_nD, self.kind, self.probes_QD)
        self.ladders = [steps(self.index.facts.lists)] if self.index.facts.lists else [[0]]

    def set(self, effort: int) -> None:
        self.index.look_at(effort)

    def search(self, query_1D: np.ndarray) -> np.ndarray:
        return self.index.search(query_1D, K)[1][0]

    def save(self, path: Path) -> None:
        self.index.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=KINDS)
    given = parser.parse_args()
    serve(given.folder, f"ours {given.kind}", Ours(given.kind, np.load(given.folder / "probes.npy")))


if __name__ == "__main__":
    main()
