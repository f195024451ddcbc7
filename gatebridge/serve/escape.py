"""Text of a peer's or an application's, made safe for one line of a log."""

# Line and paragraph separator, and what turns the direction of the text around it.
_FORMAT = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_TABLE = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))}
_TABLE |= {c: f"\\u{c:04x}" for c in _FORMAT}


def escape(text: str) -> str:
    """Control characters as \\xNN, so that no log line can be forged (T19)."""
    return text if text.isprintable() else text.translate(_TABLE)


def quote(text: str) -> str:
    """The same for a field between double quotes."""
    return escape(text.replace("\\", "\\\\").replace('"', '\\"'))
