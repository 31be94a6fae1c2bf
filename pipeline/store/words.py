"""Words both engines speak, where their own functions have different names or Ibis knows none of them.

Each is a function of Ibis expressions. An engine defines them in its own SQL when it opens (`ON_DUCKDB`, `ON_SPARK`),
so that one expression means the same on both. Moments are whole microseconds since 1970 in UTC.
"""

from __future__ import annotations

from functools import lru_cache
from inspect import Parameter, Signature
from typing import Any

import ibis
import ibis.expr.types as ir

ON_DUCKDB = {
    "micros_of(moment)": "epoch_us(moment)",
    "moment_of(micros)": "make_timestamptz(micros)",
    "iso_micros(said)": "epoch_us(TRY_CAST(said AS TIMESTAMP))",
    "said_micros(said, directives, letters)": "epoch_us(try_strptime(said, directives))",
}
ON_SPARK = {
    "micros_of(moment TIMESTAMP) RETURNS BIGINT": "unix_micros(moment)",
    "moment_of(micros BIGINT) RETURNS TIMESTAMP": "timestamp_micros(micros)",
    "iso_micros(said STRING) RETURNS BIGINT": "unix_micros(TRY_CAST(said AS TIMESTAMP))",
    "said_micros(said STRING, directives STRING, letters STRING) RETURNS BIGINT": (
        "unix_micros(try_to_timestamp(said, letters))"
    ),
}
_MOMENT = "timestamp('UTC')"


_builtin = ibis.udf.scalar.builtin

micros_of = _builtin(lambda moment: ..., name="micros_of", signature=((_MOMENT,), "int64"))
moment_of = _builtin(lambda micros: ..., name="moment_of", signature=(("int64",), _MOMENT))
iso_micros = _builtin(lambda said: ..., name="iso_micros", signature=(("string",), "int64"))
"""`YYYY-MM-DD[ HH:MM[:SS[.f]]]` as if it were UTC; null where there is no such day. Guard it: engines take more."""
said_micros = _builtin(lambda said, directives, letters: ..., name="said_micros", signature=(("string",) * 3, "int64"))
"""A text in a format, as if it were UTC: the format in strptime directives for DuckDB, in pattern letters for Spark."""


def hash_of(*values: ir.Value) -> ir.IntegerValue:
    """Returns a hash of values, another one on each engine: good for finding candidates, never for deciding."""
    return _hash(tuple(str(value.type()) for value in values))(*values)


@lru_cache
def _hash(kinds: tuple[str, ...]) -> Any:
    def declared(*_: Any) -> Any: ...

    places = [Parameter(f"value_{n}", Parameter.POSITIONAL_OR_KEYWORD) for n in range(len(kinds))]
    declared.__signature__ = Signature(places)  # type: ignore[attr-defined]
    return _builtin(declared, name="hash", signature=(kinds, "int64"))
