"""Whatever is sent: no 500, no hang, no growth, one sentence, and the next is answered as if nothing had been."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.wire import connected, request
from tests.unit.serve.conftest import until

RECOMMEND, SEARCH = "/v1/recommend", "/v1/search"


def body(content: bytes, path: str = RECOMMEND, **headers: str) -> bytes:
    return request("POST", path, content, **headers)


def chunked(content: bytes) -> bytes:
    return request("POST", RECOMMEND, transfer_encoding="chunked") + content


def get(path: str | bytes) -> bytes:
    line = path.encode() if isinstance(path, str) else path
    return b"GET " + line + b" HTTP/1.1\r\nhost: a\r\n\r\n"


BODIES = {
    "no body at all": (b"", 422),
    "half an object": (b'{"history": [', 422),
    "two objects": (b"{}{}", 422),
    "a comma too many": (b'{"k": 3,}', 422),
    "single quotes": (b"{'k': 3}", 422),
    "a number alone": (b"3", 422),
    "NaN": (b'{"k": NaN}', 422),
    "Infinity": (b'{"k": -Infinity}', 422),
    "a float too large": (b'{"k": 1e999}', 422),
    "an integer of a thousand digits": (b'{"k": ' + b"9" * 1000 + b"}", 422),
    "a negative zero": (b'{"k": -0}', 422),
    "a hundred thousand brackets": (b"[" * 100_000, 413),
    "as many brackets as fit": (b"[" * 4000, 422),
    "as many braces as fit": (b'{"a":' * 800, 422),
    "brackets within a field": (b'{"history": ' + b"[" * 3000, 422),
    "UTF-16": ('{"k": 3}'.encode("utf-16"), 422),
    "Latin-1": ('{"query": "süß"}'.encode("latin-1"), 422),
    "a byte order mark": (b"\xef\xbb\xbf{}", 422),
    "an overlong encoding": (b'{"query": "\xc0\xaf"}', 422),
    "a raw surrogate": (b'{"query": "\xed\xa0\x80"}', 422),
    "a lone surrogate": (b'{"query": "\\ud800"}', 422),
    "surrogates the wrong way round": (b'{"query": "\\udc00\\ud800"}', 422),
    "a pair of surrogates": (b'{"query": "\\ud83d\\ude00"}', 200),
    "a null character": (b'{"query": "a\\u0000b"}', 200),
    "a raw null byte": (b'{"query": "a\x00b"}', 422),
    "only null bytes": (b"\x00" * 500, 422),
    "only what shows nothing": ('{"query": "\u200b\u202e\ufeff"}'.encode(), 200),
    "a text that is long": (b'{"query": "' + b"a" * 3000 + b'"}', 422),
    "a text as long as may be": (b'{"query": "' + b"a" * 1000 + b'"}', 200),
    "a thousand letters in one": ('{"query": "a' + "\u0301" * 999 + '"}', 200),
    "a field twice": (b'{"k": 3, "k": 4}', 200),
    "a prototype": (b'{"__proto__": {"k": 3}}', 422),
    "a template": (b'{"query": "{{7*7}} ${7*7} %(a)s {0}"}', 200),
    "the way up": (b'{"history": [{"item_id": "../../etc/passwd"}]}', 200),
    "a category of nothing": (b'{"filter": {"category": "/"}}', 200),
    "a time before time": (b'{"now": "0001-01-01T00:00:00Z"}', 200),
    "a time after time": (b'{"now": "9999-12-31T23:59:59Z"}', 200),
    "an event before time": (b'{"history": [{"item_id": "item-003", "event_time": "0001-01-01T00:00:00Z"}]}', 200),
    "an event after time": (b'{"history": [{"item_id": "item-003", "event_time": "9999-12-31T23:59:59Z"}]}', 200),
    "a time of another zone before time": (b'{"now": "0001-01-01T00:00:00+14:00"}', 200),
    "a time of another zone after time": (b'{"now": "9999-12-31T23:59:59-14:00"}', 200),
    "a year of five digits": (b'{"now": "12024-01-01T00:00:00Z"}', 422),
    "an empty name in a context": (b'{"context": {"": ""}}', 422),
}  # fmt: skip

REQUESTS = {
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "another protocol's greeting": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a method nobody knows": (b"FROB / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "a version nobody knows": (b"GET / HTTP/9.7\r\nhost: a\r\n\r\n", 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    "two tokens": (b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400),
    "a space before the colon": (b"GET /healthz HTTP/1.1\r\nhost : a\r\n\r\n", 400),
    "a header over two lines": (b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n", 400),
    "a null byte in a header": (b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n", 400),
    "a null byte in the address": (get(b"/healthz\x00"), 400),
    "two lengths": (b"POST /v1/search HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}", 400),
    "a length and chunks": (body(b"0\r\n\r\nGET /", transfer_encoding="chunked"), 400),
    "chunks and a length": (
        b"POST /v1/search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", 400
    ),
    "chunked, but not quite": (
        b"POST /v1/search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400
    ),
    "chunked twice": (
        b"POST /v1/search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\n", 400
    ),
    "a negative length": (b"POST /v1/search HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
    "a length that is no number": (b"POST /v1/search HTTP/1.1\r\nhost: a\r\ncontent-length: 1e3\r\n\r\n", 400),
    "a length beyond all numbers": (
        b"POST /v1/search HTTP/1.1\r\nhost: a\r\ncontent-length: " + b"9" * 400 + b"\r\n\r\n", 400
    ),
    "a length no disk would hold": (body(b"", content_length=str(10**15)), 413),
    "a chunk that is no number": (chunked(b"zz\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk longer than it says": (chunked(b"1\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk beyond all numbers": (chunked(b"f" * 40 + b"\r\n"), 400),
    "chunks beyond the limit": (chunked((b"400\r\n" + b"a" * 1024 + b"\r\n") * 6 + b"0\r\n\r\n"), 413),
    "a comment without end on a chunk": (chunked(b"1;" + b"a" * 200_000), 413),
    "a header without end": (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 200_000, 431),
    "a header's name without end": (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a" * 200_000, 431),
    "a trailer without end": (chunked(b"0\r\nx: " + b"a" * 300_000), 413),
    "headers without end": (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 40_000, 431),
    "more headers than it reads": (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 3000 + b"\r\n", 431),
    "an address without end": (b"GET /" + b"a" * 200_000, 431),
    "an address longer than it reads": (get("/" + "a" * 17_000), 431),
    "a body with a GET": (request("GET", "/healthz", b"{}"), 200),
    "an answer instead of a question": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 400),
    "an address that is whole": (get("http://a/healthz"), 200),
    "percents that are none": (get("/v1/items/%zz%/similar"), 404),
    "a percent that ends a letter": (get("/v1/items/%ff%fe/similar"), 404),
    "an escaped null": (get("/v1/items/%00/similar"), 404),
    "an item without a name": (get("/v1/items//similar"), 404),
    "a way up": (get("/v1/items/..%2f..%2fetc/similar"), 404),
    "percents of percents": (get("/v1/items/" + "%2525" * 200 + "/similar"), 404),
    "parameters without end": (get("/v1/items/item-003/similar?" + "k=1&" * 2000), 422),
    "a parameter of null": (get("/v1/items/item-003/similar?k=%00"), 422),
    "a parameter that is not ASCII": (get("/v1/items/item-003/similar?k=\u0663"), 400),
    "an escaped digit of another script": (get("/v1/items/item-003/similar?k=%D9%A3"), 422),
    "a path of nothing": (request("OPTIONS", "*"), 404),
    "a method for another route": (request("DELETE", "/v1/recommend"), 405),
    "a body that is packed": (body(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", content_encoding="gzip"), 422),
    "a type that is none": (body(b"{}", content_type="text/\xff"), 200),
    "an expectation nobody meets": (body(b"{}", expect="a-miracle"), 200),
}  # fmt: skip


@pytest.fixture(scope="module")
def port(client) -> int:
    return client.base_url.port


def check(port: int, sent: bytes, status: int) -> None:
    with connected(port) as wire:
        wire.send(sent)
        wire.half_close()
        reply = wire.reply()
        assert reply.status == status, reply.content
        if status != 200:
            sentence = reply.json["error"]
            assert list(reply.json) == ["error"] and sentence.endswith(".") and "\n" not in sentence
            assert "Traceback" not in sentence and reply.headers["content-type"] == "application/json"
        # Nothing of what followed is taken for a question of its own.
        assert wire.ended()
    with connected(port) as wire:
        wire.send(request("GET", "/healthz"))
        assert wire.reply().status == 200


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_odd_gets_an_answer_or_one_sentence(port, name):
    content, status = BODIES[name]
    check(port, body(content if isinstance(content, bytes) else content.encode()), status)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_is_odd_gets_an_answer_or_one_sentence(port, name):
    check(port, *REQUESTS[name])


def test_head_is_answered_as_get_without_its_content(port):
    with connected(port) as wire:
        wire.send(request("HEAD", "/openapi.json") + request("GET", "/openapi.json"))
        head, got = wire.reply(with_content=False), wire.reply()
        assert head.status == got.status == 200
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


def test_a_smuggled_request_is_never_answered(port):
    # What one server takes for a body, another might take for the next question.
    hidden = request("GET", "/v1/model")
    for framing in (
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ):
        with connected(port) as wire:
            wire.send(f"POST /v1/search HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n".encode() + b"0\r\n\r\n" + hidden)
            assert wire.reply().status == 400
            assert wire.ended()


def resident_bytes(process: subprocess.Popen) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024


def open_files(process: subprocess.Popen) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


def test_thousands_of_bad_requests_leave_nothing_behind(tmp_path, bundles):
    port_file = tmp_path / "port"
    words = [
        sys.executable,
        "-m",
        "pipeline",
        "serve",
        f"--bundle={bundles[0]}",
        "--port=0",
        f"--port-file={port_file}",
    ]
    with subprocess.Popen([*words, f"--parent={os.getpid()}"], stderr=subprocess.PIPE, text=True) as process:
        try:
            until(port_file.exists, "the port file")
            port = int(port_file.read_text())
            odd = [sent for sent, _ in REQUESTS.values()]
            odd += [body(sent if isinstance(sent, bytes) else sent.encode()) for sent, _ in BODIES.values()]

            def send_all(times: int) -> None:
                for sent in odd * times:
                    with connected(port) as wire, suppress(EOFError):
                        wire.send(sent)
                        wire.half_close()
                        assert wire.reply().status != 500

            send_all(5)
            before, files = resident_bytes(process), open_files(process)
            send_all(25)
            until(lambda: open_files(process) <= files, "every connection to be closed")
            # A leak of one body of a few kilobytes a request would be ten megabytes and more.
            assert resident_bytes(process) - before < 6e6
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "Traceback" not in said and "failed" not in said


def test_a_sentence_quotes_no_more_of_a_request_than_it_must(port):
    with connected(port) as wire:
        wire.send(get("/v1/items/" + "a" * 10_000 + "/similar") + body(json.dumps({"a" * 3000: 1}).encode()))
        for end in ("items of this bundle.", "is not known here."):
            sentence = wire.reply().json["error"]
            assert len(sentence) == 400 and sentence.endswith(end)
