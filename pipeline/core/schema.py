"""The canonical columns every stage agrees on, as Ibis type names."""

from __future__ import annotations

EVENT_TYPES = ("impression", "view", "cart", "remove", "purchase", "cancel", "search")
MOST_EXPOSED = 16
"""A target keeps so many items of those shown before it."""
MOST_CONTEXT = 4
"""An event's context names so many things at most."""
CONTEXT_LETTERS = 100
"""So many letters of each count."""

EVENT = {
    "event_id": "string",
    "user_id": "string",
    "session_id": "string",
    "item_id": "string",
    "event_type": "string",
    "event_time": "timestamp('UTC')",
    "query": "string",
    "price": "float64",
    "quantity": "int64",
    "context": "string",
}
"""`user_id` and `session_id` are pseudonyms, not both null; `item_id` is null for a search; `price` is per piece;
`context` is where and on what it happened, such as `country=France; device=phone`."""

CATALOGUE = {
    "item_id": "string",
    "category": "string",
    "brand": "string",
    "title": "string",
    "price": "float64",
    "in_stock": "boolean",
    "vector": "array<float64>",
    "valid_from": "timestamp('UTC')",
}
"""`category` is a path with `/` between its levels; `vector` was made elsewhere, of an image or a text; the row
valid at an event's time counts."""

QUARANTINE = {
    "rule": "string",
    "source_file": "string",
    "byte_offset": "int64",
    "row_number": "int64",
    "row": "string",
}
"""`byte_offset` counts in the decompressed file; `row` is JSON with its person columns pseudonymised."""

QUERY = {
    "query_id": "int64",
    "user": "string",
    "kind": "string",
    "time": "timestamp('UTC')",
    "history_item_ids": "array<string>",
    "history_event_types": "array<string>",
    "history_times": "array<timestamp('UTC')>",
    "query": "string",
    "context": "string",
    "target_item_ids": "array<string>",
    "new_target_item_ids": "array<string>",
}
"""One evaluation query. `kind` is `recommend` or `search`; history is oldest first and ends before `time`;
`new_target_item_ids` are the targets among items the user had no event of before in the whole window, cancelled ones
and those that `history_item_ids` no longer carries included; `context` is that of the search, or of the first event on
a target; `user` groups queries for the bootstrap."""
