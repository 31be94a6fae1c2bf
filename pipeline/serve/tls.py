"""The certificate the server shows, taken up anew when its files change: certificates last weeks, servers longer."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.serving import Serve

log = logging.getLogger("serve")


class Certificate:
    """The chain and its key; `context` is what new connections are secured by."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Raises: UsageError: a file is missing, cannot be read, or they do not fit."""
        self._chain, self._key = chain, key
        self._seen = self._state()
        self.context = self._loaded()

    @classmethod
    def of(cls, serve: Serve) -> Certificate | None:
        """Returns None for plain HTTP.

        Raises: UsageError: only one of the two is set, or as `__init__`.
        """
        if not (serve.tls_certificate or serve.tls_key):
            return None
        if not (serve.tls_certificate and serve.tls_key):
            raise UsageError("TLS needs a certificate and its key; set both serve.tls_certificate and serve.tls_key.")
        return cls(serve.tls_certificate, serve.tls_key)

    def look(self) -> None:
        """Takes up files that changed; a pair that does not hold changes nothing until it changes again."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            # In a context of its own first: one that fails half-way would leave the server without any.
            self._loaded()
            self._load_into(self.context)
        except PipelineError as error:
            log.error("Still showing the certificate known before: %s", error, extra={"event": "certificate"})
        else:
            log.info("showing the certificate of %s as it is now", self._chain, extra={"event": "certificate"})

    def _state(self) -> list[tuple[int, int] | None]:
        return [(path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None for path in self._files]

    @property
    def _files(self) -> tuple[Path, Path]:
        return self._chain, self._key

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        try:
            # Asked for a password, it would wait for a person at a terminal.
            context.load_cert_chain(self._chain, self._key, password=lambda: b"")
        except OSError as error:
            raise UsageError(
                f"serve.tls_certificate {self._chain} and serve.tls_key {self._key} cannot be used "
                f"({error.strerror or error}); they must be a PEM chain and its PEM key, without a password."
            ) from None
