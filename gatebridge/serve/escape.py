"""Text of a peer's or an application's, made safe for one line of a log."""

_TABLE = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))}


def escape(text: str) -> str:
    """Control characters as \\xNN, so that no log line can be forged (T19)."""
    return text if text.isprintable() else text.translate(_TABLE)


def quote(text: str) -> str:
    """The same for a field between double quotes."""
    return escape(text.replace("\\", "\\\\").replace('"', '\\"'))
