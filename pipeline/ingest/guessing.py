"""Guesses, from a few values, how a log is written."""

from __future__ import annotations

import re
from collections.abc import Sequence

TIME_SHAPES = {
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|z|UTC|[+-]\d{2}:?\d{2}))?": "iso",
    r"\d{10}(\.\d+)?": "epoch_seconds",
    r"\d{13}": "epoch_milliseconds",
    r"\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}": "%d.%m.%Y %H:%M",
    r"\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}": "%d.%m.%Y %H:%M:%S",
    r"\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}": "%d/%b/%Y:%H:%M:%S %z",
    r"(1[3-9]|2\d|3[01])/\d{2}/\d{4} \d{2}:\d{2}": "%d/%m/%Y %H:%M",
    r"(1[3-9]|2\d|3[01])/\d{2}/\d{4} \d{2}:\d{2}:\d{2}": "%d/%m/%Y %H:%M:%S",
    r"\d{1,2}/(1[3-9]|2\d|3[01])/\d{4} \d{1,2}:\d{2}": "%m/%d/%Y %H:%M",
    r"\d{1,2}/(1[3-9]|2\d|3[01])/\d{4} \d{1,2}:\d{2}:\d{2}": "%m/%d/%Y %H:%M:%S",
    r"\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}": "%Y/%m/%d %H:%M:%S",
    r"\d{14}": "%Y%m%d%H%M%S",
    r"\d{8}T\d{6}": "%Y%m%dT%H%M%S",
    r"\d{2}/\d{2}/\d{4} \d{2}:\d{2}": "%d/%m/%Y %H:%M",
    r"\d{2}/\d{2}/\d{4} \d{2}:\d{2}:\d{2}": "%d/%m/%Y %H:%M:%S",
}
"""Texts and the format that reads them; a day above 12 tells day from month, and without one day/month is a guess."""


def guess_time_format(texts: Sequence[str]) -> str | None:
    """Returns the first format that fits any of the texts."""
    for shape, form in TIME_SHAPES.items():
        if any(re.fullmatch(shape, text) for text in texts):
            return form
    return None
