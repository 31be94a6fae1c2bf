"""What a request may say and what an answer holds; a compiled codec reads and writes both."""

from __future__ import annotations

import re
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from pipeline.core.pseudonyms import PATTERN
from pipeline.core.schema import EVENT_TYPES, MOST_CONTEXT
from pipeline.core.sections import Shop
from pipeline.core.serving import Serve
from pipeline.model import filters
from pipeline.model.answer import Scored

MAX_TEXT = 1000
MOST_EVENTS = 1000
MAX_NAMED, MAX_DENIED = 100, 1000
"""Categories or brands in a filter, and items it leaves out."""
MAX_PUT, MAX_VECTOR, MAX_NUMBER = 100, 4096, 1e9
IN_SEQUENCES = frozenset({"view", "cart", "remove", "purchase"})
"""What training sequences hold; anything else a shop sends is read and left out."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Pseudonym = Annotated[str, msgspec.Meta(pattern=f"^{PATTERN}$")]


class Refusal(Exception):
    """A request that is not answered: the HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """One thing the user did."""

    item_id: Text
    event_type: Literal[EVENT_TYPES] = "view"  # type: ignore[valid-type]
    event_time: Moment | None = None


Several = Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_NAMED)]
Price = Annotated[float, msgspec.Meta(ge=0)]


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    """Which items may be answered; all that is given must hold, and a category holds everything below it."""

    category: Text | Several | None = None
    brand: Text | Several | None = None
    price_min: Price | None = None
    price_max: Price | None = None
    in_stock: bool = False
    deny: Annotated[list[Text], msgspec.Meta(max_length=MAX_DENIED)] = []

    @property
    def asked(self) -> filters.Filter:
        """Raises: Refusal: no price lies in the range."""
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            bounds = f"The price_min is {self.price_min:g}, more than the price_max, {self.price_max:g}"
            raise Refusal(422, f"{bounds}; no price is both.")
        category, brand = filters.several(self.category), filters.several(self.brand)
        return filters.Filter(category, brand, self.price_min, self.price_max, self.in_stock, tuple(self.deny))


Context = Annotated[dict[Text, Text], msgspec.Meta(max_length=MOST_CONTEXT)]
"""Where and on what it is asked; names and values the model never met tell it nothing."""


class RecommendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/recommend`; `now` is when it is asked, by the server's clock unless given."""

    history: list[Event] = []
    query: Text | None = None
    k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    exclude_seen: bool = True
    filter: Filter | None = None
    now: Moment | None = None
    context: Context = {}
    user_id: Text | None = None
    pseudonym: Pseudonym | None = None
    explain: bool = False


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/search`; a history makes the answer personal."""

    query: Text
    history: list[Event] = []
    k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    exclude_seen: bool = False
    filter: Filter | None = None
    now: Moment | None = None
    context: Context = {}
    user_id: Text | None = None
    pseudonym: Pseudonym | None = None
    explain: bool = False


HistorySource = Literal["request", "stored", "both", "none", "unavailable"]
"""Where the history came from, when a user is named; `unavailable`: what is stored could not be read in time."""


Number = Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Label = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class PutItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item as it is to be shown from now on; `vector` is of an image or a text, for models that read such."""

    item_id: Text
    title: Label | None = None
    category: Label | None = None
    brand: Label | None = None
    price: Annotated[float, msgspec.Meta(ge=0, le=MAX_NUMBER)] | None = None
    in_stock: bool = True
    vector: Annotated[list[Number], msgspec.Meta(min_length=1, max_length=MAX_VECTOR)] | None = None


class PutItems(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/items`."""

    items: Annotated[list[PutItem], msgspec.Meta(min_length=1, max_length=MAX_PUT)]


class PutBody(msgspec.Struct):
    """How many items were taken, how many of them the bundle does not know, and how many are held by now."""

    taken: int
    new: int
    live_items: int
    model_version: Any
    bundle_digest: str


class AnswerBody(msgspec.Struct):
    """Body of every answer; items, version and digest are of one bundle."""

    items: list[Scored]
    model_version: Any
    bundle_digest: str
    fallback: str | None
    history_source: HistorySource | msgspec.UnsetType = msgspec.UNSET


class ToldEvent(Event, kw_only=True, forbid_unknown_fields=True):
    """One thing a user did, told as it happens; without a time it happened now."""

    user_id: Text | None = None
    pseudonym: Pseudonym | None = None


class EventsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/events`."""

    events: Annotated[list[ToldEvent], msgspec.Meta(min_length=1, max_length=MOST_EVENTS)]


class EventsBody(msgspec.Struct):
    """What became of them: new to the histories, there already, or of no use to them."""

    accepted: int
    known: int
    left_out: int


class RefusalBody(msgspec.Struct):
    """In the place of an answer: the HTTP status it would have had alone, and one sentence."""

    status: int
    error: str


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/batch`: each is a body of `/v1/search` if it holds a query, else of `/v1/recommend`."""

    requests: list[RecommendRequest]


class Unread(msgspec.Struct, forbid_unknown_fields=True):
    """A batch as it is read: each request on its own, so that one that is wrong spoils no other."""

    requests: list[msgspec.Raw]


class BatchBody(msgspec.Struct):
    """In the order of the requests an `AnswerBody` or a `RefusalBody` each, all of one bundle."""

    answers: list[Any]
    model_version: Any
    bundle_digest: str


class Limits(msgspec.Struct, frozen=True):
    """What a request may ask for, and the server take on, at most."""

    default_k: int
    max_k: int
    max_history: int
    max_batch: int
    max_body_bytes: int
    max_connections: int
    max_queue: int
    max_wait_seconds: float
    request_timeout_seconds: float
    keep_alive_seconds: float

    @classmethod
    def of(cls, serve: Serve, shop: Shop) -> Limits:
        return cls(
            default_k=min(shop.k, serve.max_k),
            max_k=serve.max_k,
            max_history=serve.max_history,
            max_batch=serve.max_batch,
            max_body_bytes=serve.max_body_bytes,
            max_connections=serve.max_connections,
            max_queue=serve.max_queue,
            max_wait_seconds=serve.max_wait_milliseconds / 1000,
            request_timeout_seconds=serve.request_timeout_seconds,
            keep_alive_seconds=serve.keep_alive_seconds,
        )

    def k_of(self, asked: int | None) -> int:
        """Raises: Refusal: more than the server gives."""
        if asked is not None and asked > self.max_k:
            raise Refusal(422, f"The field k is {asked}; at most {self.max_k} items are given, ask for fewer.")
        return self.default_k if asked is None else asked

    def check_history(self, history: list[Event]) -> None:
        """Raises: Refusal: longer than the server reads."""
        if len(history) > self.max_history:
            raise Refusal(
                422, f"The field history holds {len(history)} events; send the newest {self.max_history} at most."
            )


class Typed(msgspec.Struct):
    """What tells a search from a recommendation."""

    query: Any = None


_RECOMMEND = msgspec.json.Decoder(RecommendRequest)
_SEARCH = msgspec.json.Decoder(SearchRequest)
_EVENTS = msgspec.json.Decoder(EventsRequest)
_BATCH, _TYPED = msgspec.json.Decoder(Unread), msgspec.json.Decoder(Typed)
_PUT = msgspec.json.Decoder(PutItems)
encode = msgspec.json.Encoder().encode
_PLACE = re.compile(r" - at `(?:\$\.?)?([^`]*)`$")
_FIELD = re.compile(r"(?:missing required|unknown) field `([^`]*)`")


def read_recommend(body: bytes) -> RecommendRequest:
    """Raises: Refusal: not JSON, or a field is missing, unknown or of the wrong type."""
    return _read(_RECOMMEND, body)


def read_search(body: bytes) -> SearchRequest:
    """Raises: Refusal: as `read_recommend`."""
    return _read(_SEARCH, body)


def read_events(body: bytes) -> EventsRequest:
    """Raises: Refusal: as `read_recommend`."""
    return _read(_EVENTS, body)


def read_batch(body: bytes) -> list[msgspec.Raw]:
    """Returns the requests of a batch, not yet read. Raises: Refusal: as `read_recommend`."""
    return _read(_BATCH, body).requests


def read_items(body: bytes) -> list[PutItem]:
    """Raises: Refusal: as `read_recommend`."""
    return _read(_PUT, body).items


def read_either(body: bytes) -> RecommendRequest | SearchRequest:
    """Reads one request of a batch. Raises: Refusal: as `read_recommend`."""
    return _read(_RECOMMEND if _read(_TYPED, body).query is None else _SEARCH, body)


def oldest_first(history: list[Event]) -> list[Event]:
    """Returns what the user did in order of time, purchases taken back left out, as training sequences are made."""
    if history and all(event.event_time is not None for event in history):
        history = sorted(history, key=attrgetter("event_time"))
    if any(event.event_type == "cancel" for event in history):
        history = _net_cancels(history)
    return [event for event in history if event.event_type in IN_SEQUENCES]


def times_of(history: list[Event]) -> list[float]:
    """Returns the unix seconds of each event; none where one is not known."""
    times = [event.event_time for event in history]
    return [time.timestamp() for time in times if time] if all(times) else []


def _net_cancels(history: list[Event]) -> list[Event]:
    kept: list[Event] = []
    for event in history:
        if event.event_type != "cancel":
            kept.append(event)
            continue
        bought = (i for i in reversed(range(len(kept))) if _is_purchase_of(kept[i], event.item_id))
        if (place := next(bought, None)) is not None:
            del kept[place]
    return kept


def _is_purchase_of(event: Event, item_id: str) -> bool:
    return event.item_id == item_id and event.event_type == "purchase"


def _read(decoder: msgspec.json.Decoder, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refusal(422, sentence_of(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, f"The body is not a JSON object in UTF-8: {str(error).rstrip('.')}.") from None


def sentence_of(message: str) -> str:
    """Returns what a codec found wrong as one sentence that names the field."""
    place = _PLACE.search(message)
    path = place.group(1) if place else ""
    what = _PLACE.sub("", message)
    field = _FIELD.search(what)
    if field:
        named = ".".join(part for part in (path, field.group(1)) if part)
        return f"The field {named} is {'missing' if 'missing' in what else 'not known here'}."
    what = f"{what[0].lower()}{what[1:]}".replace("`", "")
    if what.startswith("invalid enum value"):
        what += f", expected one of {', '.join(EVENT_TYPES)}"
    return f"The field {path} is wrong: {what}." if path else f"The body is wrong: {what}."
