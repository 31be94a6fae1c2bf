"""The section of the settings for histories by user."""

from __future__ import annotations

from pydantic import Field

from pipeline.core.sections import FREE, Section


class History(Section):
    """What each user did lately, kept in Redis by pseudonym for the server."""

    redis_url: str = Field(
        "",
        description="redis:// or rediss:// (TLS) address of the primary, its password too; empty keeps no histories.",
        json_schema_extra=FREE,
    )
    wait_milliseconds: float = Field(
        5, gt=0, le=1000, description="An answer waits so long for one, then goes without.", json_schema_extra=FREE
    )
    max_events: int = Field(128, ge=1, le=10_000, description="Newest events kept a user.", json_schema_extra=FREE)
    days: int = Field(
        90,
        ge=1,
        le=10_000,
        description="Older events are dropped, and a history so long after its newest event.",
        json_schema_extra=FREE,
    )
