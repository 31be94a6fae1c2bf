"""A line to peers that do not behave as Redis does; a real Redis is among the tests against services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as redis
from redis import exceptions

from pipeline.serve.line import Line

SELECTED = b"+OK\r\n"


@asynccontextmanager
async def peer(*answers: bytes, lost: Callable[[], None] = lambda: None) -> AsyncIterator[Line]:
    """Opens a line to somebody who answers each piece that arrives with the next of these, then hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65_536)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    line = await Line.open(redis.ConnectionPool.from_url(url), lost)
    try:
        yield line
    finally:
        line.close()
        server.close()


def test_a_reply_nobody_waits_for_any_more_goes_nowhere_and_what_is_open_at_the_end_is_lost() -> None:
    async def story() -> None:
        async with peer(SELECTED, b"*1\r\n$5\r\nearly\r\n*1\r\n$4\r\n", b"late\r\n") as line:
            first, second = line.ask("ONE"), line.ask("TWO")
            second.set_result("given up")
            assert await first == [b"early"]
            assert isinstance(await line.ask("THREE"), ConnectionError)
            assert second.result() == "given up"

    asyncio.run(story())


def test_an_error_is_a_reply_and_the_line_goes_on() -> None:
    async def story() -> None:
        async with peer(SELECTED, b"-NOPERM no\r\n-ERR what\r\n*0\r\n") as line:
            replies = [line.ask("ASK") for _ in range(3)]
            told = [await reply for reply in replies]
            assert [type(each) for each in told] == [exceptions.NoPermissionError, exceptions.ResponseError, list]

    asyncio.run(story())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*0\r\n*0\r\n*0\r\n"])
def test_a_peer_that_is_no_redis_ends_the_line_once(answer: bytes) -> None:
    async def story() -> int:
        ends: list[None] = []
        async with peer(SELECTED, answer, lost=lambda: ends.append(None)) as line:
            await line.ask("ASK")
            gone = line.ask("ASK AGAIN")
            assert isinstance(await gone, ConnectionError)
            assert isinstance(await line.ask("AND AGAIN"), ConnectionError)
        return len(ends)

    assert asyncio.run(story()) == 1


def test_who_refuses_to_let_one_in_is_told_apart() -> None:
    async def story() -> None:
        async with peer(b"-NOAUTH Authentication required.\r\n"):
            raise AssertionError("not reached")

    with pytest.raises(exceptions.AuthenticationError, match="Authentication required"):
        asyncio.run(story())
