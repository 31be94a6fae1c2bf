"""The page to try the server on: one file, nothing fetched from elsewhere, and nothing runs that is not in it."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from pipeline.serve.exchange import HTML, Response

_FILE = Path(__file__).with_name("page.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def response() -> Response:
    """Returns the page with a policy that names its own script and style by their digests."""
    text = _FILE.read_text(encoding="utf-8")
    allowed = {kind: _source(inside) for kind, inside in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(200, text.encode(), HTML, ((b"content-security-policy", policy.encode()),))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
