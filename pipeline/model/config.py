"""The shape of both towers, and what features need to know to feed them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError

FORMAT_VERSION = 3


@dataclass(frozen=True)
class TowerConfig:
    """Everything that decides the towers' inputs, weights' shapes and outputs.

    Attributes:
        items: n; item indices run from 1 to n, 0 is padding in a history and "new" in the item tower.
        dim: length of query and item vectors.
        hidden_units: width of the hidden Dense layer of each tower.
        history_length: L, how many of the newest events a query carries.
        blocks: layers of causal self-attention over the history; 0 weighs its events as they stand.
        heads: H, how many differently weighted sums attention makes; they divide `dim`.
        text_length: W, how many words and character n-grams of a text count.
        text_buckets: hash buckets for them; `content_dim` and buckets of the other fields likewise.
        category_levels: how many prefixes of the category path count, from the root.
        price_edges: ascending prices that part the price bands.
        vector_dim: length of the items' vectors made elsewhere; 0 where there are none.
        context_buckets: hash buckets for the pairs of a context; 0 where the log has none.
    """

    items: int
    dim: int = 64
    hidden_units: int = 128
    history_length: int = 30
    blocks: int = 1
    heads: int = 2
    text_length: int = 40
    text_buckets: int = 8192
    content_dim: int = 16
    category_levels: int = 4
    category_buckets: int = 2048
    brand_buckets: int = 2048
    price_edges: tuple[float, ...] = ()
    vector_dim: int = 0
    context_buckets: int = 0

    def save(self, path: Path) -> None:
        write_beside(path, json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=1))

    @classmethod
    def load(cls, path: Path) -> TowerConfig:
        """Raises: CorruptArtifactError: the file is not a tower configuration this code can read."""
        try:
            raw = json.loads(path.read_text())
            version = raw.pop("format_version")
            known = {field.name for field in fields(cls)}
            if version != FORMAT_VERSION or not raw.keys() <= known:
                raise ValueError(f"format {version}, fields {', '.join(sorted(raw.keys() - known)) or 'known'}")
            return cls(**{**raw, "price_edges": tuple(raw["price_edges"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(
                f"{path}: not a tower configuration of format {FORMAT_VERSION} ({error}); train the model again."
            ) from None
