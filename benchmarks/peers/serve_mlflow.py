"""`mlflow models serve` as a peer of `serve`: a model from code around the float SavedModel and the index.

Its input is told by a type hint, as MLflow's guide has it, which also spares it a data frame a request.

    python -m benchmarks.peers.serve_mlflow MODEL TO     packs it
"""

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel


class Event(BaseModel):
    """One thing the user did."""

    item_id: str
    event_type: str = "view"
    event_time: str | None = None


class Asked(BaseModel):
    """What a shop sends."""

    history: list[Event] = []
    query: str | None = None
    k: int = 20
    exclude_seen: bool = True
    now: str | None = None


class Recommender(PythonModel):
    """Answers a list of requests."""

    def load_context(self, context: PythonModelContext) -> None:
        from benchmarks.peers.serve_retrieval import Retrieval, saved_model_tower

        tower = saved_model_tower(Path(context.artifacts["tower"]))
        self._retrieval = Retrieval(Path(context.artifacts["bundle"]), tower)

    def predict(self, model_input: list[Asked]) -> Any:
        return [self._answer(asked) for asked in model_input]

    def _answer(self, asked: Asked) -> dict[str, Any]:
        now = _seconds(asked.now) or time.time()
        ids, kinds = [event.item_id for event in asked.history], [event.event_type for event in asked.history]
        times = [_seconds(event.event_time) for event in asked.history]
        return self._retrieval.answer(ids, kinds, times, now, asked.k, asked.exclude_seen)


def _seconds(moment: str | None) -> float | None:
    """MLflow holds what arrives against the type hint strictly, so a moment arrives as text."""
    return datetime.fromisoformat(moment).timestamp() if moment else None


def pack(model: Path, to: Path) -> None:
    """Writes the MLflow model."""
    mlflow.pyfunc.save_model(
        path=str(to),
        python_model=str(Path(__file__).resolve()),
        artifacts={"bundle": str(model / "float32" / "bundle"), "tower": str(model / "saved_model")},
        pip_requirements=["mlflow", "tensorflow", "faiss-cpu"],
    )


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
else:
    mlflow.models.set_model(Recommender())
