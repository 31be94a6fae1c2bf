"""The night, in order. Commands, DAG edges, docs and the parametrised tests all read this."""

from __future__ import annotations

from pipeline.core.step import Step

STEPS: tuple[Step, ...] = (
    Step("ingest", (), "pure", "Turns raw logs into canonical events: rules, pseudonyms, quarantine.", 120),
    Step(
        "validate", ("ingest",), "pure", "Judges each day's events with Great Expectations; publishes what passed.", 60
    ),
    Step("prepare", ("validate",), "pure", "Cuts the window of published days into training, validation and test.", 60),
    Step(
        "train",
        ("prepare",),
        "pure",
        "Trains the two towers under MirroredStrategy; resumes where it was cut.",
        360,
        True,
    ),
    Step(
        "optimize",
        ("prepare", "train"),
        "pure",
        "Prunes, quantizes and more, recipe by recipe; keeps the smallest that pays.",
        240,
        True,
        part="recipe",
    ),
    Step("register", ("optimize",), "effect", "Registers the release bundle in MLflow as the challenger.", 20),
    Step(
        "gate",
        ("prepare", "optimize", "register"),
        "effect",
        "Holds the challenger against thresholds and champion on the test.",
        60,
        True,
    ),
    Step("promote", ("gate",), "effect", "Commits the verdict to the ledger and moves serving, or leaves it.", 20),
)

BY_NAME = {step.name: step for step in STEPS}
