"""Settings of servers that come and go with the load."""

from __future__ import annotations

from pydantic import Field

from pipeline.core.sections import Section


class Replicas(Section):
    """Servers on Ray Serve, as many as the load asks for; `python -m pipeline serve --replicas LEAST..MOST`."""

    least: int = Field(1, ge=1, description="Replicas that run whatever the load.")
    most: int = Field(1, ge=1, description="Replicas that run at most; each takes a core.")
    target_busy: float = Field(
        0.6, gt=0, le=1, description="Share of the time a replica should have work; with more, another is started."
    )
    up_after_seconds: float = Field(10, ge=0, description="How long load must be higher before one is started.")
    down_after_seconds: float = Field(300, ge=0, description="How long load must be lower before one is ended.")
    look_back_seconds: float = Field(10, gt=1, description="Over how long load is averaged.")
