"""The pages steps make, opened from their tasks in the Airflow UI; only for who is logged in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from pipeline.core.run import Layout

PAGES = {
    "validate": ("validate", "report.html"),
    "train": ("train", "curves.svg"),
    "optimize": ("optimize", "pareto.svg"),
    "gate": (None, "decision/decision.html"),
}
# Pages hold words out of logs: nothing in them may run or call home.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox",
    "X-Content-Type-Options": "nosniff",
}
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def page_of(layout: Layout, run_id: str, step: str) -> Path | None:
    """Returns the file a step of a run left for people, or None when there is none."""
    if step not in PAGES or not _RUN_ID.fullmatch(run_id):
        return None
    stage, name = PAGES[step]
    folder = layout.runs / run_id
    path = (folder if stage is None else _artifact(layout, folder, stage)) / name
    return path if path.is_file() else None


def _artifact(layout: Layout, folder: Path, stage: str) -> Path:
    refs = folder / "refs" / f"{stage}.json"
    keys = json.loads(refs.read_text()) if refs.exists() else {}
    return layout.artifact(stage, keys.get("", "none"))


class PagesApp:
    """Answers below its prefix; built at the first request, since all of Airflow loads plugins and one part serves."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            self._app = _build()
        await self._app(scope, receive, send)


def _build() -> Any:
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import FileResponse

    from pipeline.core import settings as settings_module

    app = FastAPI(title="Pages of the night", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/runs/{run_id}/{step}", dependencies=[Depends(get_user)])
    def page(run_id: str, step: str) -> FileResponse:
        path = page_of(Layout(settings_module.load().store.root.resolve()), run_id, step)
        if path is None:
            raise HTTPException(404, f"The step {step} of run {run_id} left no page; its task's log says why.")
        return FileResponse(path, headers=HEADERS)

    return app


class Reports(AirflowPlugin):
    name = "nightshift_reports"
    fastapi_apps = [{"app": PagesApp(), "url_prefix": "/nightshift", "name": "Pages of the night"}]  # noqa: RUF012
