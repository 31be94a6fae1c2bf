"""A server that does nothing but answer, to see how much the load client asks: `benchmarks.serve_trivial PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

BYTES = 2_500
"""About an answer of twenty items."""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % BYTES + b" " * BYTES


class Trivial(asyncio.Protocol):
    """Takes whatever arrives at once for a request."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
