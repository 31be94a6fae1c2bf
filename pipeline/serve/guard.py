"""Lets a request in by its token, or says why not."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from pipeline.serve.exchange import AUTHORIZATION, FETCH_SITE, HOST, Response
from pipeline.serve.metrics import Metrics
from pipeline.serve.tokens import Scope, Token, Tokens

MAKE = "`python -m pipeline token add --name NAME --scope {scope}`"
_ASKS = b'Bearer realm="nightshift"'
NOBODY = "nobody"


class Guard:
    """Knows the tokens, and whether this server can be reached from other machines."""

    def __init__(self, tokens: Tokens, is_local: bool, metrics: Metrics) -> None:
        self._tokens, self._is_local, self._metrics = tokens, is_local, metrics

    def refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Returns None for who may ask."""
        if scope is Scope.OPEN:
            return None
        if not self._tokens and self._is_local and scope is not Scope.ADMIN:
            return self._of_a_browser(headers)
        token = self._presented(headers)
        if token is None:
            return self._unknown(scope, AUTHORIZATION in headers)
        return None if token.may >= scope else self._too_little(scope, token)

    def who(self, headers: Mapping[bytes, bytes]) -> str:
        """Returns the name of the token that was presented."""
        token = self._presented(headers)
        return token.name if token else NOBODY

    def _presented(self, headers: Mapping[bytes, bytes]) -> Token | None:
        kind, _, token = headers.get(AUTHORIZATION, b"").partition(b" ")
        return self._tokens.find(token.strip()) if kind.lower() == b"bearer" else None

    def _unknown(self, scope: Scope, presented: bool) -> Response:
        self._metrics.kept_out("unknown" if presented else "missing")
        make = MAKE.format(scope=scope.name.lower())
        if presented:
            sentence = f"This token is none of this server's; whoever runs it makes one with {make}."
            return Response.refusal(401, sentence, (b"www-authenticate", _ASKS + b', error="invalid_token"'))
        sentence = f"This asks for a token: send `Authorization: Bearer TOKEN`; whoever runs it makes one with {make}."
        return Response.refusal(401, sentence, (b"www-authenticate", _ASKS))

    def _too_little(self, scope: Scope, token: Token) -> Response:
        self._metrics.kept_out("scope")
        needed = scope.name.lower()
        sentence = f"This asks for the scope {needed}; the token {token.name} has {token.scope}, use one that has it."
        told = b', error="insufficient_scope", scope="%s"' % needed.encode()
        return Response.refusal(403, sentence, (b"www-authenticate", _ASKS + told))

    def _of_a_browser(self, headers: Mapping[bytes, bytes]) -> Response | None:
        """Refuses pages of other sites, which the browser on this machine would let ask in its user's name."""
        site = headers.get(FETCH_SITE)
        if site is None or (site in (b"same-origin", b"none") and _names_loopback(headers.get(HOST, b""))):
            return None
        self._metrics.kept_out("site")
        make = MAKE.format(scope="read")
        sentence = f"Without tokens only pages of this server on this machine may ask; make one with {make}."
        return Response.refusal(403, sentence)


def is_loopback(address: str) -> bool:
    """Tells whether an address, as a socket states it, can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _names_loopback(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name == "localhost" or is_loopback(name)
