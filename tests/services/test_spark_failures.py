"""What Spark cannot do ends in one sentence that says what, where and where its log is.

Every case has a process of its own, for a Spark that failed to start cannot be started again in the same one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

OPEN = """
import sys
from pipeline.core import settings
from pipeline.core.errors import PipelineError
from pipeline.store.engine import open_engine
try:
    with open_engine(settings.load(["engine.name=spark", *sys.argv[2:]])) as engine:
        exec(sys.argv[1])
except PipelineError as error:
    print(type(error).__name__, error.retry_may_help, error)
"""


def refusal(scratch: Path, work: str, *assignments: str) -> str:
    """Returns kind, whether a retry may help, and the sentence that Spark's failure ended in."""
    reach = ("engine.spark_master=local[1]", f"store.root={scratch / 'var'}", f"engine.scratch={scratch}")
    command = [sys.executable, "-c", OPEN, work, *reach, *assignments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.stdout.strip()


def log_named_in(sentence: str) -> str:
    named = re.search(r"its log is (\S+\.log)", sentence)
    assert named, sentence
    return Path(named[1]).read_text()


def test_a_master_that_is_none_is_told_with_the_log(tmp_path: Path) -> None:
    told = refusal(tmp_path, "pass", "engine.spark_master=nowhere")
    assert told.startswith("UnavailableError True Spark did not start on nowhere (Exception in thread")
    assert "Master must either be yarn or start with spark, k8s, or local); look at engine.spark_master" in told
    assert "Master must either be" in log_named_in(told)


def test_a_memory_that_java_refuses_is_told(tmp_path: Path) -> None:
    told = refusal(tmp_path, "pass", "engine.spark_options={spark.driver.memory: lots}")
    assert "did not start on local[1] (Invalid maximum heap size: -Xmxlots); look at" in told


def test_an_option_of_the_wrong_type_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    told = refusal(tmp_path, "pass", "engine.spark_options={spark.sql.shuffle.partitions: many}")
    assert told.startswith("SettingsError False Spark refuses one of engine.spark_options ([INVALID_CONF_VALUE")
    assert "'many'" in told


def test_a_job_that_fails_is_told_with_its_reason_and_the_log(tmp_path: Path) -> None:
    told = refusal(tmp_path, "engine.answer(\"SELECT assert_true(id < 3, 'too large') FROM range(9)\")")
    assert told.startswith("UnavailableError True Spark on local[1] failed at its work ([USER_RAISED_EXCEPTION] too la")
    assert "too large" in log_named_in(told)


def test_a_file_the_machines_do_not_see_is_told_with_what_they_must_share(tmp_path: Path) -> None:
    told = refusal(tmp_path, "engine.read(['/nowhere/events.parquet'])")
    assert "Path does not exist: file:/nowhere/events.parquet" in told
    assert told.endswith("All its machines must see engine.scratch.")


def test_a_spark_that_dies_at_its_work_is_told(tmp_path: Path) -> None:
    die = "from pyspark import SparkContext as S; S._gateway.proc.kill(); S._gateway.proc.wait(); "
    told = refusal(tmp_path, die + "engine.answer('SELECT 1 AS n')")
    assert told.startswith("UnavailableError True Spark on local[1] is gone in the middle of its work (")
