"""The Content-Type of a file by its name."""

from __future__ import annotations

import codecs
import mimetypes
import os
from typing import Final

# What the standard library or an old /etc/mime.types does not know, or calls otherwise
_OURS: Final = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_COMPRESSED: Final = {  # not unpacked on the way: the file is what was asked for
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
_TEXTS: Final = ("application/javascript", "application/xml", "image/svg+xml")
_UNKNOWN: Final = "application/octet-stream"


def content_type(name: str) -> str:
    """Of a file's name, without folders. What nobody knows is bytes."""
    extension = os.path.splitext(name)[1].lower()
    kind, packing = _OURS.get(extension), None
    if kind is None:
        kind, packing = mimetypes.guess_type(f"/{name}", strict=False)
    if packing:
        return _COMPRESSED.get(packing, _UNKNOWN)
    return kind or _UNKNOWN


def is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind in _TEXTS


def charset(begin: bytes) -> str:
    """What follows a text's type: UTF-8 where it is; older pages say inside what they are.

    begin   of the file; it may end within a character
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(begin)
    except UnicodeDecodeError:
        return ""
    return "; charset=utf-8"
