from __future__ import annotations

import pyarrow as pa

from pipeline.ingest.judging import questions


def test_a_day_is_put_in_order_in_parts_that_fit_and_cover_every_minute_once() -> None:
    most = questions.PART_ROWS
    begun = [minute * questions.MINUTE for minute in (-3, 0, 1, 7, 9, 10)]
    minutes = pa.table({"minute": begun, "rows": [5, most - 5, 1, most * 3, 2, most - 2]})
    # The first two minutes just fit, the fourth is larger than a part by itself, the last two fit again.
    parts = [(begin // questions.MINUTE, end // questions.MINUTE) for begin, end in questions._parts(minutes)]
    assert parts == [(-3, 1), (1, 7), (7, 9), (9, 11)]
    assert not list(questions._parts(minutes.slice(0, 0)))
