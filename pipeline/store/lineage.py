"""What was made from what: artifacts whose manifest names an input, and theirs in turn."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.artifacts import MANIFEST, Artifact, place_beside

DERIVED = ("validate", "prepare", "train", "optimize")
"""Stages after ingest that leave artifacts, in the order they read each other."""


@dataclass(frozen=True)
class Derived:
    """Artifacts that stand on others, in order of stage and key."""

    artifacts: tuple[Artifact, ...]

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
    aside = place_beside(artifact.path, "old")
    shutil.rmtree(aside, ignore_errors=True)
    if artifact.path.exists():
        artifact.path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def stage_of(artifact: Artifact) -> str:
    return artifact.path.parent.name


def made_from(root: Path, names: Iterable[str]) -> Derived:
    """Returns what was made from artifacts of these keys or digests, and what was made from that.

    What records no inputs is held for derived, to be on the safe side.
    """
    tainted = list(names)
    if not tainted:
        return Derived(())
    manifests = {a: a.manifest for stage in DERIVED for a in artifacts_of(root, stage)}
    touched: dict[str, set[Artifact]] = defaultdict(set)
    for artifact, manifest in manifests.items():
        for name in (artifact.key, *manifest.get("inputs", {}).values()):
            touched[name].add(artifact)
    more, found = {a for a, manifest in manifests.items() if "inputs" not in manifest}, set()
    # Followed from name to name, not from stage to stage: a prepare grows from another, whatever their keys.
    while more or tainted:
        found |= more
        tainted += [name for artifact in more for name in (artifact.key, manifests[artifact]["digest"])]
        more = touched[tainted.pop()] - found
    return Derived(tuple(artifact for artifact in manifests if artifact in found))
