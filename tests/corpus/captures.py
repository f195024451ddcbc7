"""Requests as six real front servers sent them, recorded byte for byte: captures.tar.xz.

1,804 requests from nginx 1.22.1, Apache 2.4.71, lighttpd 1.4.69, Caddy 2.6.2, HAProxy 2.6.12 and
h2o 2.2.5 in 47 configurations, and three management records. In the archive:

index.json    per request of a client: server, configuration (their texts under "configs"),
              protocol, mount, what the client sent, what the server replied, the files it made
decoded.json  what a parser independent of gatebridge read in each file
NAME.bin      the bytes from the first of the request to the last. Protocol "cgi": the environment
              as NAME=VALUE, each NUL-ended, an empty field, the body. Names that end in .mgmt
              are records with request id 0, .eof requests whose connection the server closed
              before any answer, .abort requests that it took back
"""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).with_name("captures.tar.xz")


class Capture:
    """One file and what is known of it.

    name     of the file, without .bin
    kind     "", "mgmt", "eof" or "abort"
    request  what the client sent, latin-1; a few are described instead, see case
    decoded  params, body_len, body_sha256 and for FastCGI role, flags, records; {} for mgmt
    """

    __slots__ = ("case", "config", "data", "decoded", "kind", "mount", "name", "protocol",
                 "request")  # fmt: skip

    def __init__(self, name: str, entry: dict[str, Any], data: bytes, decoded: Any) -> None:
        self.name = name
        self.kind = name.partition(".")[2]
        self.config: str = entry["config"]
        self.protocol: str = entry["protocol"]
        self.mount: str = entry["mount"]
        self.case: str = entry["case"]
        self.request: str = entry["request"]
        self.data = data
        self.decoded: dict[str, Any] = decoded or {}

    def __repr__(self) -> str:
        return self.name

    @property
    def front(self) -> str:
        return self.config.partition("-")[0]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.decoded["params"]]


@cache
def captures() -> tuple[Capture, ...]:
    """Every file of the archive, in the order in which the requests were made."""
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        files = {}
        for member in archive:
            opened = archive.extractfile(member)
            files[member.name] = opened.read() if opened is not None else b""
    index = json.loads(files.pop("index.json"))
    decoded = json.loads(files.pop("decoded.json"))
    return tuple(
        Capture(name.removesuffix(".bin"), entry, files[name], decoded.get(name))
        for entry in index["requests"]
        for name in entry["files"]
    )


@cache
def by_config() -> dict[str, list[Capture]]:
    """The same, sorted by configuration."""
    out: dict[str, list[Capture]] = {}
    for capture in captures():
        out.setdefault(capture.config, []).append(capture)
    return out
