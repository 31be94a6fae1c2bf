"""What was made from what: artifacts whose manifest names an input, and theirs in turn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.artifacts import MANIFEST, Artifact

DERIVED = ("validate", "prepare", "train", "optimize")
"""Stages after ingest that leave artifacts, in the order they read each other."""


@dataclass(frozen=True)
class Derived:
    """Artifacts that stand on others.

    Attributes:
        unsure: keys of those that record no inputs and are held for derived, to be on the safe side.
    """

    artifacts: tuple[Artifact, ...]
    unsure: frozenset[str]

    def by_stage(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for artifact in self.artifacts:
            found.setdefault(stage_of(artifact), []).append(artifact.key)
        return found


def artifacts_of(root: Path, stage: str) -> list[Artifact]:
    """Returns every whole artifact of a stage under a root, in order of key."""
    return [Artifact(path.parent) for path in sorted((root / "store" / stage).glob(f"[!.]*/{MANIFEST}"))]


def drop(artifact: Artifact) -> None:
    """Removes an artifact: out of sight by one rename, then from the disk; one that is not there is no error."""
    aside = artifact.path.with_name(f".{artifact.key[:16]}.{os.getpid()}.old")
    if artifact.path.exists():
        artifact.path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def stage_of(artifact: Artifact) -> str:
    return artifact.path.parent.name


def made_from(root: Path, names: Iterable[str]) -> Derived:
    """Returns what was made from artifacts of these keys or digests, and what was made from that."""
    tainted, found, unsure = set(names), [], set()
    if not tainted:
        return Derived((), frozenset())
    for artifact in (artifact for stage in DERIVED for artifact in artifacts_of(root, stage)):
        manifest = artifact.manifest
        inputs = manifest.get("inputs")
        if inputs is None:
            unsure.add(artifact.key)
        elif tainted.isdisjoint(inputs.values()) and artifact.key not in tainted:
            continue
        found.append(artifact)
        tainted |= {artifact.key, manifest["digest"]}
    return Derived(tuple(found), frozenset(unsure))
