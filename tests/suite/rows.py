"""The rows: a request, an application, and what the client must see.

Targets are relative to the mount. A row's id names it everywhere; the table of what a front
server makes different is differences.py.
"""

import hashlib

from tests.suite.apps import LEGAL
from tests.suite.apps.bodies import BLOCK_3M, PIECES_10M
from tests.suite.apps.failures import BAD_HEADS
from tests.suite.apps.registry import PIECE
from tests.suite.rows_environ import ENVIRON, FORM
from tests.suite.want import Digest, Row, Want
from tests.suite.wires import Req

BYTES = ("Content-Type", "application/octet-stream")
BODY_70K = (b"0123456789abcdef" * 4375)[:70_000]
BODY_1M = PIECE * 16
LINES_BODY = b"one\ntwo\nthree\nfour\nfive\nsix\n\nlast without end"


def uploaded(data: bytes, content_type: str | None) -> dict[str, object]:
    return {
        "length": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "agrees": True,
        "CONTENT_TYPE": content_type,
        "after": "",
    }


ANSWERS = (
    Row(
        "get",
        "hello",
        Req(),
        Want(200, b"hello\n", {"Content-Type": ["text/plain"]}, reason="OK"),
    ),
    Row("get-no-length", "no_length", Req(), Want(200, b"hello\n")),
    Row("get-empty-answer", "no_body", Req(), Want(200, b"")),
    Row("head", "hello", Req("HEAD"), Want(200, b"", {"Content-Length": ["6"]})),
    Row("head-generator", "generator", Req("HEAD"), Want(200, b"")),
    Row("head-closes", "closing", Req("HEAD"), Want(200, b"", ledger=("closed",))),
    Row("head-large", "stream_10m", Req("HEAD"), Want(200, b"", ledger=("closed",))),
    Row("status-teapot", "odd_status", Req(), Want(418, b"short and stout\n")),
    Row("status-404", "not_found", Req(), Want(404, b"nothing here\n")),
    Row("status-204", "status_204", Req(), Want(204, b"", {"X-Answer": ["204"]})),
    Row("status-304", "status_304", Req(), Want(304, b"", {"ETag": ['"abc"']})),
    Row("body-on-204", "body_on_204", Req(), Want(204, b"", ledger=("closed",))),
    Row("body-on-304", "body_on_304", Req(), Want(304, b"", ledger=("closed",))),
    Row(
        "redirect-absolute",
        "redirect_absolute",
        Req(),
        Want(302, b"over there\n", {"Location": ["http://other.example.test/x?y=1"]}),
    ),
    Row(
        "redirect-relative",
        "redirect_relative",
        Req(),
        Want(302, b"over there\n", {"Location": ["/elsewhere?y=1"]}),
    ),
    Row(
        "set-cookie-many",
        "cookies",
        Req(),
        Want(
            200,
            b"ok\n",
            {"Set-Cookie": ["a=1; Path=/", "b=2; Path=/", "a=3; Path=/x"], "X-Between": ["1"]},
        ),
    ),
    Row(
        "headers-kept",
        "headers",
        Req(),
        Want(
            200,
            b"ok\n",
            {
                "X-Latin": ["caf\xe9 \xff"],
                "X-Inner": ["a  b"],
                "X-Colon": ["a: b"],
                "X-Twice": ["1", "2"],
                "X-Long": ["v" * 3000],
            },
        ),
    ),
)

BODIES = (
    Row("generator", "generator", Req(), Want(200, b"one\ntwo\nthree\n")),
    Row(
        "late-start",
        "late_start",
        Req(),
        Want(200, b"late\n", {"X-Late": ["1"]}, ledger=("closed",)),
    ),
    Row("write", "writer", Req(), Want(200, b"written\ntwice\nand returned\n")),
    Row("empty-blocks", "empty_blocks", Req(), Want(200, b"ab\n")),
    Row("many-blocks", "many_blocks", Req(), Want(200, b"x" * 10_000)),
    Row("large-3m", "block_3m", Req(), Want(200, Digest(BLOCK_3M))),
    Row(
        "stream-10m",
        "stream_10m",
        Req(),
        Want(200, Digest(PIECE, PIECES_10M), ledger=("closed",)),
    ),
    Row("file", "file_whole", Req(), Want(200, Digest(BLOCK_3M), ledger=("closed",))),
    Row("file-offset", "file_offset", Req(), Want(200, b"sent\n" * 1000, ledger=("closed",))),
    Row(
        "file-after-readline",
        "file_buffered_position",
        Req(),
        Want(200, b"sent\n" * 1000, ledger=("closed",)),
    ),
    Row("file-at-end", "file_at_end", Req(), Want(200, b"", ledger=("closed",))),
    Row("file-compressed", "file_gzip", Req(), Want(200, b"plain text\n" * 1000)),
    Row("file-without-fileno", "file_memory", Req(), Want(200, b"from memory\n" * 500)),
    Row(
        "file-longer-than-said",
        "file_longer_than_said",
        Req(),
        Want(200, b"0123", ledger=("closed",)),
    ),
    Row("close-counted", "closing", Req(), Want(200, b"counted\n", ledger=("closed",))),
    Row("close-raises", "close_raises", Req(), Want(200, b"ok\n", ledger=("closed",))),
)

UPLOADS = (
    Row(
        "post-form",
        "upload",
        Req("POST", "/", (FORM,), b"a=1&b=2"),
        Want(fields={**uploaded(b"a=1&b=2", FORM[1]), "CONTENT_LENGTH": "7"}),
    ),
    Row(
        "post-empty",
        "upload",
        Req("POST", "/", (FORM,), b""),
        Want(fields=uploaded(b"", FORM[1])),
    ),
    Row("get-without-body", "upload", Req(), Want(fields=uploaded(b"", None))),
    Row(
        "put-70k",
        "upload",
        Req("PUT", "/", (BYTES,), BODY_70K),
        Want(fields={**uploaded(BODY_70K, BYTES[1]), "CONTENT_LENGTH": "70000"}),
    ),
    Row(
        "post-1m",
        "upload",
        Req("POST", "/", (BYTES,), BODY_1M),
        Want(fields={**uploaded(BODY_1M, BYTES[1]), "CONTENT_LENGTH": "1048576"}),
    ),
    Row(
        "post-mirrored",
        "mirror",
        Req("POST", "/", (BYTES,), BODY_70K),
        Want(200, BODY_70K),
    ),
    Row(
        "delete-with-body",
        "upload",
        Req("DELETE", "/", (FORM,), b"a=1"),
        Want(fields=uploaded(b"a=1", FORM[1])),
    ),
    Row(
        "chunked",
        "upload",
        Req("POST", "/", (BYTES,), b"hello world", chunked=True),
        Want(fields=uploaded(b"hello world", BYTES[1])),
        "chunked",
    ),
    Row(
        "chunked-70k",
        "upload",
        Req("POST", "/", (BYTES,), BODY_70K, chunked=True),
        Want(fields=uploaded(BODY_70K, BYTES[1])),
        "chunked",
    ),
    Row("unread", "unread", Req("POST", "/", (FORM,), b"a=1"), Want(200, b"not read\n")),
    Row("unread-1m", "unread", Req("POST", "/", (BYTES,), BODY_1M), Want(200, b"not read\n")),
    Row(
        "read-in-part",
        "read_some",
        Req("POST", "/", (BYTES,), b"0123456789" * 20_000),
        Want(200, b"0123456789\n"),
    ),
    Row(
        "read-all-twice",
        "read_all",
        Req("POST", "/", (BYTES,), BODY_70K),
        Want(200, b"70000 0\n"),
    ),
    Row("read-all-of-get", "read_all", Req(), Want(200, b"0 0\n")),
    Row(
        "lines",
        "lines",
        Req("POST", "/", (BYTES,), LINES_BODY),
        Want(
            json=[
                "one\n",
                "two",
                "\n",
                ["three\n"],
                ["four\n", "five\n", "six\n", "\n", "last without end"],
                "",
                [],
            ]
        ),
    ),
    Row(
        "readlines",
        "readlines",
        Req("POST", "/", (BYTES,), b"a\nb\n\nc"),
        Want(json=["a\n", "b\n", "\n", "c"]),
    ),
    Row(
        "answer-before-read",
        "answer_then_read",
        Req("POST", "/", (BYTES,), BODY_70K),
        Want(200, b"early\n70000\n"),
    ),
)

PAGE = Want(500, headers={}, absent=("X-Never",), incident=True)
PAGE_CLOSED = Want(500, absent=("X-Never",), incident=True, ledger=("closed",))

FAILURES = (
    Row("raise-at-once", "raise_at_once", Req(), PAGE),
    Row("raise-at-once-head", "raise_at_once", Req("HEAD"), Want(500, b"")),
    Row(
        "raise-at-once-upload",
        "raise_at_once",
        Req("POST", "/", (BYTES,), BODY_70K),
        PAGE,
    ),
    Row("raise-after-start", "raise_after_start", Req(), PAGE),
    Row("raise-at-first-block", "raise_at_first_block", Req(), PAGE_CLOSED),
    Row("exit", "exits", Req(), Want(500)),
    Row(
        "exc-info-in-time",
        "exc_info_in_time",
        Req(),
        Want(503, b"own error page\n", {"X-Page": ["ours"]}, absent=("X-Never",)),
    ),
    Row("start-twice", "start_twice", Req(), Want(500)),
    Row("start-never", "start_never", Req(), Want(500)),
    Row("start-never-empty", "start_never_empty", Req(), Want(500)),
    Row("returns-none", "returns_none", Req(), Want(500)),
    Row("returns-number", "returns_number", Req(), Want(500)),
    Row("str-block", "str_block", Req(), Want(500)),
    Row("ends-long", "ends_long", Req(), Want(200, b"hello", ledger=("closed",))),
    Row("written-long", "written_long", Req(), Want(200, b"hello")),
)

CUTS = (
    Row(
        "raise-halfway",
        "raise_halfway",
        Req(),
        Want(200, cut=True, ledger=("closed",), log=("the-reason-no-client-may-see",)),
    ),
    Row("raise-early", "raise_early", Req(), Want(200, cut=True)),
    Row(
        "raise-halfway-no-length",
        "raise_halfway_no_length",
        Req(),
        Want(200, cut=True, ledger=("closed",)),
    ),
    Row("ends-short", "ends_short", Req(), Want(200, cut=True, ledger=("closed",))),
    Row(
        "file-shorter-than-said",
        "file_shorter_than_said",
        Req(),
        Want(200, cut=True, ledger=("closed",)),
    ),
    Row(
        "exc-info-too-late",
        "exc_info_too_late",
        Req(),
        Want(200, cut=True, ledger=("raised again",)),
    ),
)

ERRORS = (
    Row(
        "errors-line",
        "errors_line",
        Req(),
        Want(200, b"logged\n", log=("line a", "line b")),
    ),
    Row("errors-1m", "errors_1m", Req(), Want(200, b"logged\n")),
)

BAD = tuple(
    Row(
        f"head-refused-{name}",
        "bad_head",
        Req(headers=(("Suite-Arg", name),)),
        Want(500, absent=("X-Evil", "X-A")),
    )
    for name in BAD_HEADS
)

# Behind a front server a few stand for all: the gateway refuses before it knows who asked.
BAD_BEHIND_FRONTS = tuple(
    row for row in BAD if row.id.endswith(("value-crlf", "name-line-break", "status-line-break"))
)

EVERYWHERE = ANSWERS + BODIES + UPLOADS + ENVIRON + FAILURES + CUTS + ERRORS
DIRECT = EVERYWHERE + BAD
BEHIND_FRONTS = EVERYWHERE + BAD_BEHIND_FRONTS


def validated(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The same rows with wsgiref.validate around each application that keeps the rules.

    "plain" rows are left out: the validator itself objects to their request.
    """
    return tuple(
        Row(f"{row.id}-validated", f"{row.app}!", row.req, row.want, *row.kinds)
        for row in rows
        if row.app in LEGAL and "plain" not in row.kinds
    )
