"""Heads that must never be sent, W051 to W056: (name, status, headers), and what judges them.

Run by itself (python -O -m tests.engine.head_rows) it is what W066 asks: the checks live where
there is no assert.
"""

import sys
from typing import Any

from tests.engine.recorder import TEXT, ask, giving

# Every C0 byte but the tab, DEL: CPython's wsgiref lost its check under -O (gh-150726).
CONTROLS = [chr(byte) for byte in (*range(9), *range(10, 32), 127)]
PLACES = (("first", 0), ("inside", 2), ("last", 99))
PLAIN = "2" * 3 + " Fine"


def _with(text: str, at: int, char: str) -> str:
    return text[:at] + char + text[at:]


def rows() -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for char in CONTROLS:
        for place, at in PLACES:
            shown = f"{ord(char):#04x} {place}"
            found += [
                (f"W051 {shown} in a value", "200 OK", [TEXT, ("X-A", _with("value", at, char))]),
                (f"W052 {shown} in a name", "200 OK", [TEXT, (_with("X-Aa", at, char), "v")]),
                (f"W053 {shown} in a status", _with(PLAIN, at, char), [TEXT]),
            ]
    return found + _splits() + _statuses() + _names() + _types()


def _splits() -> list[tuple[str, Any, Any]]:
    evil = "\r\nX-Evil: 1\r\n\r\n<script>"
    return [
        ("W054 split by a value", "200 OK", [TEXT, ("X-A", "v" + evil)]),
        ("W054 split by a name", "200 OK", [TEXT, ("X-A: v" + evil, "v")]),
        ("W054 split by a status", "200 OK" + evil, [TEXT]),
        ("W054 folded", "200 OK", [TEXT, ("X-A", "v\r\n folded")]),
        ("W054 bare LF", "200 OK", [TEXT, ("X-A", "v\nX-Evil: 1")]),
        ("W054 cookie", "200 OK", [TEXT, ("Set-Cookie", "a=1\r\nSet-Cookie: b=2")]),
        ("W054 location", "302 Found", [TEXT, ("Location", "/x\r\nX-Evil: 1")]),
    ]


def _statuses() -> list[tuple[str, Any, Any]]:
    wrong = ("", " ", "OK", "20", "2000 OK", "200OK", "abc OK", "-12 X", "99 Low", "100 Continue",
             "101 Switching", "\u0662\u0660\u0660 OK", "200 \u20ac", " 200 OK")  # fmt: skip
    return [(f"W055 status {text!r}", text, [TEXT]) for text in wrong]


def _names() -> list[tuple[str, Any, Any]]:
    wrong = ("", " ", "X A", "X-A:", "X-A ", " X-A", "X(A)", "X\xe9", "X\u20ac", '"X"', "X@A")
    found = [(f"W055 name {name!r}", "200 OK", [TEXT, (name, "v")]) for name in wrong]
    found.append(("W055 value beyond latin-1", "200 OK", [TEXT, ("X-A", "\u20ac")]))
    for length in ("abc", "-1", "+5", "5 5", "0x5", "\u0665", "1" * 30, "1_0", "5.0"):
        found.append((f"W055 Content-Length {length!r}", "200 OK", [("Content-Length", length)]))
    two = [("Content-Length", "3"), ("content-length", "4")]
    return [*found, ("W055 two lengths", "200 OK", two)]


def _types() -> list[tuple[str, Any, Any]]:
    wrong = [
        ("bytes value", [("X-A", b"v")]),
        ("bytes name", [(b"X-A", "v")]),
        ("int value", [("X-A", 5)]),
        ("None value", [("X-A", None)]),
        ("list for a pair", [["X-A", "v"]]),
        ("three", [("X-A", "v", "w")]),
        ("one", [("X-A",)]),
        ("text for a pair", ["ab"]),
        ("tuple for the list", (TEXT,)),
        ("dict for the list", {"X-A": "v"}),
        ("None for the list", None),
        ("iterator for the list", iter([TEXT])),
    ]
    found = [(f"W056 {name}", "200 OK", headers) for name, headers in wrong]
    return [*found, *((f"W056 status {s!r}", s, [TEXT]) for s in (200, b"200 OK", None))]


def fault(status: Any, headers: Any) -> str:
    """What went wrong with the refusal, "" for nothing; no assert, see above."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return [b"body"]

    out = ask(app)
    if not out.status.startswith("500") or not out.whole or len(out.heads) != 1:
        return f"not refused: {out.heads[0].status!r} {out.heads[0].block!r}"
    block = out.head.block
    if b"X-" in block or block.count(b"\r\n") != 2 or block.count(b"\n") != 2:
        return f"something of it was sent: {block!r}"
    whys = ("status.", "header.", "TypeError")  # the last is the compiled build's
    if not out.incidents or not any(why in out.log for why in whys):
        return f"the log does not say why: {out.log[-300:]!r}"
    return ""


def main() -> int:
    if __debug__:
        print("meant for python -O")
        return 2
    table = rows()
    wrong = [f"{name}: {said}" for name, *row in table if (said := fault(*row))]
    if not ask(giving([b"x"])).whole:
        wrong.append("a plain answer fails too, so the rest says nothing")
    print("\n".join(wrong))
    print(f"{len(table)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
