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

DATES_IN_NAMES = (
    (r"\d{4}-\d{2}-\d{2}", "{day}", "day"),
    (r"(?<!\d)\d{8}(?!\d)", "{day:%Y%m%d}", "day"),
    (r"\d{4}_\d{2}_\d{2}", "{day:%Y_%m_%d}", "day"),
    (r"\d{4}-[A-Z][a-z]{2}(?![a-z])", "{day:%Y-%b}", "month"),
    (r"(?<!\d)\d{4}-\d{2}(?!\d)", "{day:%Y-%m}", "month"),
    (r"(?<!\d)\d{6}(?!\d)", "{day:%Y%m}", "month"),
)
COLUMN_WORDS = {
    "user_id": (
        "user_id",
        "userid",
        "user",
        "customerid",
        "customer_id",
        "customer",
        "visitorid",
        "client_id",
        "kunde",
    ),
    "session_id": ("session_id", "sessionid", "session", "user_session", "visit_id", "visit", "invoiceno", "besuch"),
    "item_id": (
        "item_id",
        "itemid",
        "item",
        "product_id",
        "productid",
        "product",
        "sku",
        "stockcode",
        "article",
        "artikel",
    ),
    "event_time": (
        "event_time",
        "timestamp",
        "time",
        "ts",
        "datetime",
        "date",
        "created_at",
        "invoicedate",
        "at",
        "zeit",
        "datum",
    ),
    "event_type": ("event_type", "event", "action", "type", "event_name", "activity", "aktion"),
    "query": ("query", "search_query", "search_term", "search_words", "keywords", "q", "suche", "suchwort"),
    "price": ("price", "unit_price", "unitprice", "cost", "amount", "preis"),
    "quantity": ("quantity", "qty", "pieces", "count", "menge", "anzahl"),
    "category": ("category", "category_code", "category_path", "categoryid", "category_id", "kategorie"),
    "brand": ("brand", "manufacturer", "vendor", "marke"),
    "title": ("title", "product_name", "item_name", "description", "titel", "bezeichnung"),
    "in_stock": ("in_stock", "available", "availability", "stock", "lagernd"),
}
TYPE_WORDS = {
    "impression": ("impression", "shown", "display"),
    "remove": ("remove", "removefromcart", "deletefromcart"),
    "cart": ("cart", "addtocart", "basket", "add", "addtobasket", "korb", "warenkorb"),
    "cancel": ("cancel", "return", "refund", "storno", "retoure"),
    "purchase": ("purchase", "order", "buy", "transaction", "checkout", "bought", "kauf", "bestellung"),
    "search": ("search", "query", "find", "suche"),
    "view": ("view", "pageview", "detail", "click", "seen", "productview", "ansicht", "klick"),
}
PERSON_WORDS = {
    "mail",
    "email",
    "phone",
    "address",
    "ip",
    "firstname",
    "lastname",
    "surname",
    "birthday",
    "telefon",
    "adresse",
}


def guess_column(ours: str, names: Sequence[str]) -> str | None:
    """Returns the first of the names that is a known word for one of our columns."""
    plain = {_plain(name.rpartition(".")[2]): name for name in reversed(names)}
    return next((plain[_plain(word)] for word in COLUMN_WORDS[ours] if _plain(word) in plain), None)


def names_person(name: str) -> bool:
    """Does a column's name speak of people? `client_ip` and `e_mail` do, `Description` does not."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return bool({*words, _plain(name)} & PERSON_WORDS)


def guess_type(word: str) -> str | None:
    """Returns the event type a word seems to mean."""
    return next((kind for kind, words in TYPE_WORDS.items() if _plain(word) in words), None)


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def guess_time_format(texts: Sequence[str]) -> str | None:
    """Returns the first format that fits any of the texts."""
    for shape, form in TIME_SHAPES.items():
        if any(re.fullmatch(shape, text) for text in texts):
            return form
    return None
