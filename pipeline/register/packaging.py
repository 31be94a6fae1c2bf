"""Packs a release bundle as a model MLflow can load by itself: code, requirements, signature and an example."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from pipeline.core.artifacts import PACKAGE
from pipeline.model.bundle import Bundle
from pipeline.model.goldens import query_of

ROOMS = ("core", "model")
"""What `Retriever` needs of this package; the model carries a copy."""

REQUIREMENTS = ("mlflow", "numpy", "pandas", "faiss-cpu", "ai-edge-litert")

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(Array(DataType.string), "history_item_ids"),
            ColSpec(Array(DataType.string), "history_event_types"),
            ColSpec(Array(DataType.double), "history_times", required=False),
            ColSpec(DataType.double, "now", required=False),
            ColSpec(DataType.string, "query", required=False),
            ColSpec(DataType.string, "context", required=False),
            ColSpec(DataType.string, "category", required=False),
            ColSpec(DataType.long, "k", required=False),
            ColSpec(DataType.boolean, "exclude_seen", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(Array(DataType.string), "item_ids"),
            ColSpec(Array(DataType.double), "scores"),
            ColSpec(DataType.string, "fallback", required=False),
        ]
    ),
)


def pack(bundle: Bundle, folder: Path) -> Path:
    """Writes an MLflow model of the bundle to `folder / "model"` and returns that folder."""
    model = folder / "model"
    mlflow.pyfunc.save_model(
        path=str(model),
        python_model=str(Path(__file__).with_name("serving_model.py")),
        artifacts={"bundle": str(bundle.path)},
        code_paths=[str(_code(folder))],
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        signature=SIGNATURE,
        input_example=requests_frame(bundle)[:1],
        model_config={"digest": bundle.digest},
        metadata={"digest": bundle.digest, "recipe": bundle.recipe, "data_end": bundle.data_end},
    )
    return model


def _code(folder: Path) -> Path:
    code = folder / "pipeline"
    code.mkdir()
    shutil.copyfile(PACKAGE / "__init__.py", code / "__init__.py")
    for room in ROOMS:
        shutil.copytree(PACKAGE / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    return code


def requests_frame(bundle: Bundle) -> pd.DataFrame:
    """Returns the bundle's golden requests for items, one a row, as the packed model takes them."""
    requests = [golden["request"] for golden in bundle.goldens if golden["request"] and "k" in golden["request"]]
    return pd.DataFrame([_row(request) for request in requests])


def _row(request: dict) -> dict:
    query = query_of(request)
    return {
        "history_item_ids": query.item_ids,
        "history_event_types": query.event_types,
        "history_times": query.times,
        "now": query.now,
        "query": query.text,
        "context": query.context,
        "category": (request.get("filter") or {}).get("category"),
        "k": request["k"],
        "exclude_seen": request.get("exclude_seen", True),
    }
