"""Files of a bundle that hold text or towers, compressed: what repeats or is zero then costs next to nothing.

Equal content gives equal bytes: no name or time goes in.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import CorruptArtifactError

LEVEL = 9


def write_packed(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, LEVEL, mtime=0))


def read_packed(path: Path) -> bytes:
    """Raises: CorruptArtifactError: the file is torn or not compressed."""
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise CorruptArtifactError(f"{path}: cannot be unpacked ({error}); make the bundle again.") from None


def write_json(path: Path, value: Any) -> None:
    write_packed(path, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def read_json(path: Path) -> Any:
    """Raises: CorruptArtifactError: the file is torn or holds no JSON."""
    try:
        return json.loads(read_packed(path))
    except ValueError as error:
        raise CorruptArtifactError(f"{path}: holds no JSON ({error}); make the bundle again.") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    held = io.BytesIO()
    np.savez(held, **arrays)
    write_packed(path, held.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Raises: CorruptArtifactError: the file is torn or holds no arrays."""
    content = read_packed(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise CorruptArtifactError(f"{path}: holds no arrays ({error}); make the bundle again.") from None
