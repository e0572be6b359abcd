"""When a request counts as whole: for every way to cut it into pieces, never earlier and never later than it ends."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from api.server.request_buffer import MAX_BODY_BYTES, MAX_CHUNKED_BYTES, MAX_HEAD_BYTES, RequestBuffer

HEAD = b"POST /validate HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

WHOLE = [
    b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    HEAD + b"Content-Length: 2\r\n\r\n{}",
    HEAD + b"content-LENGTH:   3  \r\n\r\n{ }",
    HEAD + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"1;name=value\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    CHUNKED + b"A\r\n\r\n0\r\n\r\n123\r\n0\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\nTrailer: value\r\n\r\n",
    CHUNKED + b"0000000006\r\n\r\n\r\n{}\r\n000000000\r\n\r\n",
]

ODD = [
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.1\r\nHost: a\n",
    HEAD + b"Content-Length: -5\r\n\r\n",
    HEAD + b"Content-Length: \xb2\r\n\r\n",
    HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    HEAD + b"Content-Length: 0\r\nContent-Length: 3\r\n\r\n",
    HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    CHUNKED + b"xyz\r\n",
    CHUNKED + b"\r\n",
]
"""What gunicorn's parser refuses without reading on."""

PARTS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"0", b"000000000", b"2", b"a", b" ", b"\t", b";", b":", b",", b"\0", b"\xff",
    b'"', b"0\r\n\r\n", b"chunked", b"identity", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
]  # fmt: skip
"""What may turn up anywhere in a request."""


def gathered(*pieces: bytes) -> RequestBuffer:
    request = RequestBuffer()
    for piece in pieces:
        request.add(piece)
    return request


@pytest.mark.parametrize("content", WHOLE + ODD)
def test_a_request_is_whole_with_its_last_byte_and_not_before(content: bytes) -> None:
    request = RequestBuffer()
    for place in range(len(content)):
        assert not request.is_settled, content[:place]
        request.add(content[place : place + 1])

    assert request.is_complete
    assert bytes(request.data) == content


@pytest.mark.parametrize("content", WHOLE)
def test_it_does_not_matter_where_a_request_is_cut(content: bytes) -> None:
    for place in range(1, len(content)):
        assert gathered(content[:place], content[place:]).is_complete, place


@pytest.mark.parametrize("content", WHOLE)
def test_what_follows_a_request_is_kept_for_the_next(content: bytes) -> None:
    request = gathered(content + b"GET /next")

    assert request.is_complete
    assert bytes(request.data) == content + b"GET /next"


@pytest.mark.parametrize("size", [b"65537", b"9" * 18, b"9" * 5000])
def test_a_body_that_would_be_too_large_is_not_waited_for(size: bytes) -> None:
    request = gathered(HEAD + b"Content-Length: " + size + b"\r\n\r\n")

    assert (request.problem, request.is_complete) == ("body-too-large", False)


def test_the_largest_body_is_taken() -> None:
    assert gathered(HEAD + b"Content-Length: 65536\r\n\r\n", b"x" * MAX_BODY_BYTES).is_complete


def test_a_head_without_end_is_refused() -> None:
    request = gathered(b"GET /" + b"a" * (MAX_HEAD_BYTES - 5))
    assert not request.is_settled

    request.add(b"a")

    assert request.problem == "head-too-large"


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_head_is_as_large_as_it_may_be_or_refused_however_it_arrives(pieces: int) -> None:
    start, end = HEAD + b"X: ", b"\r\n\r\n"
    largest = start + b"a" * (MAX_HEAD_BYTES - len(start) - len(end)) + end

    assert gathered(*cut(largest, pieces)).is_complete
    for size in (MAX_HEAD_BYTES + 1, 96 * 1024):
        request = gathered(*cut(start + b"a" * (size - len(start) - len(end)) + end, pieces))
        assert (request.problem, request.is_complete) == ("head-too-large", False)


def cut(content: bytes, pieces: int) -> list[bytes]:
    size = -(-len(content) // pieces)
    return [content[place : place + size] for place in range(0, len(content), size)]


@pytest.mark.parametrize(
    "content",
    [
        b"1\r\nx\r\n" * (MAX_CHUNKED_BYTES // 6 + 1),
        b"fffffff\r\n",
        b"00010000000\r\n",
        b"1;" + b"a" * 9000,
        b"0\r\n" + b"Trailer: " + b"a" * 9000,
    ],
)
def test_chunks_without_end_are_refused(content: bytes) -> None:
    assert gathered(CHUNKED, content).problem == "body-too-large"


@pytest.mark.parametrize(
    "content",
    [
        b"1\r\nx\r\n" * (MAX_CHUNKED_BYTES // 6 + 1) + b"0\r\n\r\n",
        b"1;" + b"a" * 9000 + b"\r\nx\r\n0\r\n\r\n",
        b"0\r\n" + b"Trailer: " + b"a" * 9000 + b"\r\n\r\n",
    ],
)
def test_chunks_that_are_too_large_are_refused_though_all_of_them_are_there(content: bytes) -> None:
    request = gathered(CHUNKED + content)

    assert (request.problem, request.is_complete) == ("body-too-large", False)


def test_a_sender_that_waits_to_be_told_to_go_on_is_noticed() -> None:
    assert gathered(HEAD + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n").awaits_continue
    assert not gathered(HEAD + b"Content-Length: 2\r\n\r\n").awaits_continue
    assert not gathered(b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").awaits_continue


@given(
    content=st.sampled_from(WHOLE + ODD),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from(PARTS)), max_size=4),
)
def test_whatever_counts_as_whole_the_parser_waits_for_no_more_of_it(
    content: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for place, left_out, part in changes:
        content = content[:place] + part + content[place + left_out :]

    request = RequestBuffer()
    for place in range(len(content)):
        if not request.is_settled:
            request.add(content[place : place + 1])

    if request.is_complete:
        parser = RequestParser(Config(), all_there_is(bytes(request.data)), ("127.0.0.1", 1))
        with suppress(errors.ParseException, errors.NoMoreData, StopIteration):
            next(parser).body.read()


def all_there_is(content: bytes) -> Iterator[bytes]:
    """What a parser can read; a thread that asks for more would wait for the client."""
    yield content
    pytest.fail(f"the parser waits for more of {content!r}")
