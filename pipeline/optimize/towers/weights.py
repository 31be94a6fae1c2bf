"""How a converted tower may store its weights; apart from the converter, for the table of recipes needs no TensorFlow.

`convert` says what each is.
"""

from __future__ import annotations

from typing import Literal

Weights = Literal["float32", "float16", "int8", "full_int8"]
