"""Words of an Apache configuration: quoted, escaped for patterns, nested in sections."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = frozenset("/-_~abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_DOLLAR = "GATEBRIDGE_DOLLAR"  # "${" can be written in no other way


def quoted(text: str) -> str:
    """One word, whatever characters it has; see with_defines() for "${"."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + inner.replace("${", f"${{{_DOLLAR}}}{{") + '"'


def with_defines(text: str) -> str:
    """The text, and what its words need defined."""
    if f"${{{_DOLLAR}}}" not in text:
        return text
    why = "# Apache would put a variable in for a dollar sign and a brace: this is the sign alone."
    return f'{why}\nDefine {_DOLLAR} "$"\n{text}'


def escaped_glob(path: str) -> str:
    """A path for <Directory> or <Files>, which take * ? [ for a pattern."""
    if not set(path) & set("*?["):
        return path
    steps = (f"[{char}]" if char in "*?[" else "\\\\" if char == "\\" else char for char in path)
    return "".join(steps)


def regex_of(text: str) -> str:
    """A regular expression for exactly this text, in bytes as Apache compares."""
    data = text.replace(".", "\0").encode("utf-8")
    steps = (chr(byte) if chr(byte) in _PLAIN else f"\\x{byte:02x}" for byte in data)
    return "".join(steps).replace("\\x00", "[.]")


def expression_of(text: str) -> str:
    """The text in a string of ap_expr, where % $ and backslash mean something."""
    return "".join(f"\\{char}" if char in "%$\\" else char for char in text)


def encoded_url(path: str) -> str:
    """A path as in a URL; Apache decodes it once, also that of a Unix socket."""
    return quote(path, safe="/-._~")


def block(section: str, inside: list[str]) -> list[str]:
    """<Section …> around lines, indented."""
    name = section.partition(" ")[0]
    return [f"<{section}>", *(f"    {line}" for line in inside), f"</{name}>"]
