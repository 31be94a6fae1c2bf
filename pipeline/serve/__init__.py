"""The recommendation server: a raw ASGI application over the champion's bundle, swapped without a pause."""
