"""BentoML as a peer of `serve`: a service of its defaults, one worker, the tower in ONNX Runtime.

Its log of every request is off, as everybody's is.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import bentoml
from pydantic import BaseModel

from benchmarks.peers.serve_retrieval import Retrieval, model_folder, onnx_tower


class Event(BaseModel):
    """One thing the user did."""

    item_id: str
    event_type: str = "view"
    event_time: datetime | None = None


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Recommender:
    """Answers what a shop sends."""

    def __init__(self) -> None:
        self._retrieval = Retrieval(model_folder() / "float32" / "bundle", onnx_tower(model_folder()))

    @bentoml.api(route="/v1/recommend")
    def recommend(
        self,
        history: list[Event],
        query: str | None = None,
        k: int = 20,
        exclude_seen: bool = True,
        now: datetime | None = None,
    ) -> dict[str, Any]:
        asked = now.timestamp() if now else time.time()
        ids, kinds = [event.item_id for event in history], [event.event_type for event in history]
        times = [event.event_time.timestamp() if event.event_time else None for event in history]
        return self._retrieval.answer(ids, kinds, times, asked, k, exclude_seen)
