"""The section of the settings that says what machines and people cost. No price changes what a step makes."""

from __future__ import annotations

from pydantic import Field

from pipeline.core.sections import FREE, Section


class Cost(Section):
    """What machines and people cost; list prices of a large cloud in 2026 stand in for your own, taken as euros."""

    core_hour_eur: float = Field(
        0.0405, ge=0, description="A serving core for an hour; AWS Fargate, x86, us-east-1.", json_schema_extra=FREE
    )
    memory_gb_hour_eur: float = Field(
        0.00445, ge=0, description="A GB of serving memory for an hour; from the same list.", json_schema_extra=FREE
    )
    storage_gb_month_eur: float = Field(
        0.023, ge=0, description="A GB stored for a month; Amazon S3 Standard, us-east-1.", json_schema_extra=FREE
    )
    training_core_hour_eur: float = Field(
        0.048,
        ge=0,
        description="A core of the machine the night runs on, for an hour, its memory included; half an EC2 m5.large.",
        json_schema_extra=FREE,
    )
    peak_requests_per_second: float | None = Field(
        None, gt=0, description="Requests at the shop's busiest; None tells no replicas.", json_schema_extra=FREE
    )
    target_utilisation: float = Field(
        0.5, gt=0, le=1, description="How busy a serving core may be at that peak.", json_schema_extra=FREE
    )
    cores_per_replica: float = Field(1.0, gt=0, description="Cores of one server.", json_schema_extra=FREE)
    least_replicas: int = Field(
        2, ge=1, description="Servers kept however little is asked: one may fail.", json_schema_extra=FREE
    )
    kept_months: float = Field(
        3.0, ge=0, description="How long a night's artifacts and bundle stay stored.", json_schema_extra=FREE
    )
    review_minutes: float = Field(
        10.0, ge=0, description="A person's time for one night's page and decision.", json_schema_extra=FREE
    )
    person_hour_eur: float = Field(60.0, ge=0, description="An hour of that person, all in.", json_schema_extra=FREE)
