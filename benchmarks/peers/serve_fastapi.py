"""FastAPI as a peer of `serve`: uvicorn with uvloop and httptools, one worker, the tower in ONNX Runtime.

The route is a coroutine, for a hop to a thread would cost it more than an answer takes, and the answer is written by
orjson past any response model, which is the shortest way FastAPI has.
"""

from __future__ import annotations

import time
from datetime import datetime

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.peers.serve_retrieval import Retrieval, model_folder, onnx_tower


class Event(BaseModel):
    """One thing the user did."""

    item_id: str
    event_type: str = "view"
    event_time: datetime | None = None


class Asked(BaseModel):
    """What a shop sends."""

    history: list[Event] = []
    query: str | None = None
    k: int = 20
    exclude_seen: bool = True
    now: datetime | None = None


app = FastAPI()
retrieval = Retrieval(model_folder() / "float32" / "bundle", onnx_tower(model_folder()))


@app.post("/v1/recommend")
async def recommend(asked: Asked) -> Response:
    now = asked.now.timestamp() if asked.now else time.time()
    ids, kinds = [event.item_id for event in asked.history], [event.event_type for event in asked.history]
    times = [event.event_time.timestamp() if event.event_time else None for event in asked.history]
    found = retrieval.answer(ids, kinds, times, now, asked.k, asked.exclude_seen)
    return Response(orjson.dumps(found), media_type="application/json")
