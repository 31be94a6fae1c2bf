"""What the query string of a route may say."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

from pipeline.serve.messages import Filter, Refusal, sentence_of


class Similar(Filter, forbid_unknown_fields=True):
    """Parameters of `GET /v1/items/{id}/similar`; `category`, `brand` and `deny` may be given several times."""

    k: Annotated[int, msgspec.Meta(ge=1)] | None = None


PARAMETERS = ("k", "category", "brand", "price_min", "price_max", "in_stock", "deny")
REPEATED = frozenset({"category", "brand", "deny"})


def read_parameters(query_string: bytes) -> Similar:
    """Reads the likes of `?k=20&brand=one&brand=other&price_max=9.5`.

    Raises: Refusal: another parameter, one given twice that may be given once, or a value that is none.
    """
    if not query_string:
        return Similar()
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if name not in PARAMETERS:
            raise Refusal(422, f"The parameters of this route are {', '.join(PARAMETERS)}, such as ?k=20.")
        if len(values) > 1 and name not in REPEATED:
            raise Refusal(422, f"The parameter {name} is given {len(values)} times; give it once.")
    try:
        told = {name: values if name in REPEATED else values[0] for name, values in given.items()}
        return msgspec.convert(told, Similar, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(422, sentence_of(str(error)).replace("The field", "The parameter", 1)) from None
