"""Spark's failures as one sentence, and its log kept where that sentence says."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import PipelineError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

LONGEST_TOLD = 300
SAYS_NOTHING = ("Error: Could not create the Java Virtual Machine", "Error: A fatal exception has occurred")


def not_started(error: Exception, settings: Settings, log: Path, needs: str) -> UnavailableError:
    """Returns the sentence for a Spark that is not there."""
    return UnavailableError(
        f"Spark did not start on {settings.engine.spark_master} ({_last_words(log) or _told(error)}); look at "
        f"engine.spark_master and engine.spark_options, and see that there is {needs}{_kept(log, settings)}."
    )


@contextmanager
def failures_in_one_sentence(settings: Settings, log: Path) -> Iterator[None]:
    """Ends what Spark raises within the block in one sentence; what else is raised there is left alone.

    Args:
        log: of the Spark that runs, if it was started here.

    Raises:
        SettingsError: Spark takes a value of `engine.spark_options` for none.
        UnavailableError: a job failed, or Spark is gone.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise _failed(error, settings, log) from None
    except ConnectionError as error:
        if _lives():
            raise
        raise _failed(error, settings, log) from None


def _failed(error: Exception, settings: Settings, log: Path) -> PipelineError:
    condition = getattr(error, "getCondition", lambda: None)() or ""
    if "_CONF" in condition:
        return SettingsError(f"Spark refuses one of engine.spark_options ({_told(error)}); correct it.")
    what = "failed at its work" if _lives() else "is gone in the middle of its work"
    shared = " All its machines must see engine.scratch." if condition == "PATH_NOT_FOUND" else ""
    return UnavailableError(
        f"Spark on {settings.engine.spark_master} {what} ({_told(error)}); run the step again, with more of "
        f"engine.memory_mb should it have run out{_kept(log, settings)}.{shared}"
    )


def _lives() -> bool:
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    return process is None or process.poll() is None


def _told(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Of an error of Java's own the first line says only that there was one.
    told = next((line for line in lines if not line.startswith("An error occurred while calling")), "")
    return (told.removeprefix(": ") or type(error).__name__)[:LONGEST_TOLD]


def _last_words(log: Path) -> str:
    """Returns the last line that is neither blank nor part of a stack."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    telling = (line for line in reversed(lines) if line.strip() and not line.startswith(("\t", *SAYS_NOTHING)))
    return next(telling, "").strip()[:LONGEST_TOLD]


def _kept(log: Path, settings: Settings) -> str:
    """Copies the log out of the scratch folder, which is about to go, and returns where it is."""
    if not log.exists():
        return ""
    descriptor, path = tempfile.mkstemp(".log", "nightshift-spark-", settings.engine.scratch or None)
    os.close(descriptor)
    shutil.copyfile(log, path)
    return f"; its log is {path}"
