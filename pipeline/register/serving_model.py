"""The release bundle as an MLflow model: `mlflow models serve` and `mlflow.pyfunc.load_model` run this very file.

One row a request, one row an answer; the same `Retriever` the server uses answers.
"""

from __future__ import annotations

import time
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

DEFAULT_K = 20


class BundleModel(PythonModel):
    """Answers from the bundle that lies beside it."""

    def load_context(self, context: PythonModelContext) -> None:
        from pathlib import Path

        from pipeline.model.retriever import Retriever

        promised = (context.model_config or {}).get("digest")
        self._retriever = Retriever.load(Path(context.artifacts["bundle"]), promised)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        # Of any other type pandas would hold what is missing as NaN, which no JSON knows.
        return pd.DataFrame([self._answer(row) for row in model_input.to_dict("records")], dtype=object)

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        from pipeline.model.features import Query
        from pipeline.model.filters import Filter

        ids, kinds, times = (_listed(row.get(f"history_{name}")) for name in ("item_ids", "event_types", "times"))
        now, context = _given(row.get("now")) or time.time(), _given(row.get("context"))
        query = Query(ids, kinds, _given(row.get("query")), times, now, context)
        k, exclude_seen = _given(row.get("k")) or DEFAULT_K, _given(row.get("exclude_seen"))
        allowed = Filter.of({"category": _given(row.get("category"))})
        answer = self._retriever.recommend(query, int(k), exclude_seen is not False, allowed)
        return {
            "item_ids": [item.item_id for item in answer.items],
            "scores": [float(item.score) for item in answer.items],
            "fallback": answer.fallback,
        }


def _listed(value: Any) -> list[Any]:
    return [] if value is None or isinstance(value, float) else list(value)


def _given(value: Any) -> Any:
    """Returns None for the several ways a data frame writes that nothing was given."""
    return None if value is None or value != value else value


mlflow.models.set_model(BundleModel())
