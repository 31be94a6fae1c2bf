"""Spark behind the seam of `engine.py`: tables are Parquet files in a scratch folder, seen through temporary views.

Nothing but Parquet passes between this process and Spark, one batch at a time, so that memory here stays bounded.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import MissingInputError
from pipeline.core.settings import Settings
from pipeline.store.spark_failures import failures_in_one_sentence, not_started

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    import pyarrow as pa

BATCH_ROWS = 65_536
LOG = "spark.log"
INSTALL = 'uv pip install "nightshift[spark]" (or `make test-services` in a checkout), and a Java runtime of version 17'
ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
}
"""What the answers depend on; `engine.spark_options` cannot change it."""


class Spark:
    """One session of Spark; its files are gone afterwards."""

    name = "spark"

    def __init__(self, session: Any, backend: ibis.BaseBackend, scratch: Path) -> None:
        self.backend, self.scratch = backend, scratch
        self._session = session
        self._folders: dict[str, Path] = {}
        self._numbers = count()

    def load(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        import pyarrow.parquet as pq

        folder = self._new_folder(name)
        folder.mkdir()
        with pq.ParquetWriter(folder / "rows.parquet", schema, compression="snappy") as writer:
            for batch in batches:
                writer.write_batch(batch, row_group_size=BATCH_ROWS)
        return self._seen(name, folder)

    def stream(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        return self.load(name, batches, schema)

    def read(self, paths: Sequence[str], file_column: str = "") -> ir.Table:
        import pyspark.sql.functions as f

        rows = self._session.read.option("mergeSchema", True).parquet(*(_address(path) for path in paths))
        if file_column:
            given = [(str(Path(path).absolute()) if "://" not in path else path, path) for path in paths]
            names = self._session.createDataFrame(given, "_address string, _given string")
            plain = f.regexp_replace(f.col("_metadata.file_path"), r"\+", "%2B")
            address = f.regexp_replace(f.url_decode(plain), "^file:/+", "/")
            joined = rows.withColumn("_address", address).join(f.broadcast(names), "_address")
            rows = joined.drop("_address").withColumnRenamed("_given", file_column)
        view = f"read_{next(self._numbers)}"
        rows.createOrReplaceTempView(view)
        return self.table(view)

    def keep(self, name: str, question: ir.Table | str) -> ir.Table:
        folder = self._new_folder(name)
        self._asked(question).write.parquet(str(folder))
        return self._seen(name, folder)

    def show(self, name: str, question: ir.Table | str) -> ir.Table:
        self._asked(question).createOrReplaceTempView(name)
        return self.table(name)

    def table(self, name: str) -> ir.Table:
        import ibis

        # Ibis does not see that Spark's timestamps have a zone.
        found = self.backend.get_schema(name)
        kinds = {n: "timestamp('UTC')" if kind.is_timestamp() else kind for n, kind in found.items()}
        return ibis.table(kinds, name=name)

    def compiled(self, question: ir.Table) -> str:
        import ibis

        return str(ibis.to_sql(question, dialect="pyspark"))

    def ask(self, question: ir.Table | str) -> Iterator[pa.RecordBatch]:
        folder = self._new_folder("answer")
        self._asked(question).write.parquet(str(folder))
        return self._rows_of(folder, None if isinstance(question, str) else question.schema().to_pyarrow())

    def answer(self, question: ir.Table | str) -> pa.Table:
        import pyarrow as pa

        folder = self._new_folder("answer")
        self._asked(question).write.parquet(str(folder))
        schema = _schema_of(folder) if isinstance(question, str) else question.schema().to_pyarrow()
        return pa.Table.from_batches(self._rows_of(folder, schema), schema)

    def _asked(self, question: ir.Table | str) -> Any:
        if isinstance(question, str):
            return self._session.sql(question)
        view = f"asked_{next(self._numbers)}"
        self.backend.create_view(view, question)
        return self._session.table(view)

    def _new_folder(self, name: str) -> Path:
        return self.scratch / f"{next(self._numbers):05}-{name}"

    def _seen(self, name: str, folder: Path) -> ir.Table:
        """Shows a folder under a name; the rows of an earlier table of that name are gone."""
        self._session.read.parquet(_address(str(folder))).createOrReplaceTempView(name)
        before = self._folders.get(name)
        self._folders[name] = folder
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)
        return self.table(name)

    def _rows_of(self, folder: Path, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of an answer: its parts are numbered in the question's order."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for part in _parts(folder):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    yield pa.Table.from_batches([batch]).cast(schema).to_batches()[0] if schema else batch
        shutil.rmtree(folder, ignore_errors=True)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _schema_of(folder: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    return pq.read_schema(_parts(folder)[0])


def _address(path: str) -> str:
    return path if "://" in path else f"file://{Path(path).absolute()}"


@contextmanager
def open_spark(settings: Settings) -> Iterator[Spark]:
    """Opens a session of its own in the Spark that runs in this process, or starts one and stops it at the end.

    Raises:
        MissingInputError: pyspark is not installed.
        UnavailableError: Spark does not start, or fails at its work.
        SettingsError: Spark takes one of its options for none.
    """
    with TemporaryDirectory(dir=settings.engine.scratch or None) as folder, warnings.catch_warnings():
        # pyspark warns of every pandas of version 3; no rows pass through pandas here.
        warnings.simplefilter("ignore", FutureWarning)
        scratch = Path(folder)
        with _session(settings, scratch) as session, failures_in_one_sentence(settings, scratch / LOG):
            yield Spark(session, _backend(session), scratch)


def _backend(session: Any) -> ibis.BaseBackend:
    import ibis

    from pipeline.store import words

    backend = ibis.pyspark.connect(session, **ALWAYS)
    for head, body in words.ON_SPARK.items():
        session.sql(f"CREATE OR REPLACE TEMPORARY FUNCTION {head} RETURN {body}")
    return backend


@contextmanager
def _session(settings: Settings, scratch: Path) -> Iterator[Any]:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise MissingInputError(f"engine.name is spark, but pyspark is not installed; install {INSTALL}.") from None
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running.newSession()
        return
    log = scratch / LOG
    try:
        session = _started(settings, scratch, log)
    except Exception as error:
        raise not_started(error, settings, log, INSTALL) from None
    try:
        yield session
    finally:
        with suppress(Exception):  # a Spark that is gone cannot be stopped, and why it went is told elsewhere
            session.stop()


def _started(settings: Settings, scratch: Path, log: Path) -> Any:
    """Starts Spark with its own voice in a file: what a step says stays readable."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    wanted = settings.engine
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": f"{max(wanted.memory_mb, 1024)}m",
        "spark.local.dir": str(scratch / "spill"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.shuffle.partitions": "8" if wanted.spark_master.startswith("local") else "200",
    }
    if wanted.spark_master.startswith("local"):
        # Nobody else on the network has a part in it.
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    conf = SparkConf().setAppName("nightshift").setMaster(wanted.spark_master)
    for name, value in (options | wanted.spark_options | ALWAYS).items():
        conf.set(name, value)
    if SparkContext._gateway is None:
        with log.open("wb") as voice:
            gateway = launch_gateway(conf, {"stderr": voice, "stdout": voice})
        context = SparkContext(conf=conf, gateway=gateway)
    else:
        context = SparkContext(conf=conf)
    context.setLogLevel("ERROR")
    return SparkSession(context)
