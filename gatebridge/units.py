"""Times and sizes as people write them: "30s", "5m", "16MiB", or a plain number."""

import re

# Longest first: a value is shown in the largest unit that keeps it whole.
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}
_SIZES = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1, "": 1}
# One letter is 1024 as nginx, Apache and PHP read it; kB, MB and GB are thousands as the SI says.
_OTHER_SIZES = {
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip

TIME_UNITS = ("ms", *[unit for unit in _SECONDS if unit])
SIZE_UNITS = tuple([unit for unit in (*_SIZES, *_OTHER_SIZES) if unit])

_NUMBER = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,9}))?(?: ?([A-Za-z]+))?")


def seconds(text: str) -> float:
    """Read a time: "30", "30s", "1.5s", "500ms", "5m", "2h", "1d". raises ValueError(reason)"""
    found = _NUMBER.fullmatch(text)
    unit = (found[4] or "") if found else ""
    if not found or unit not in (*_SECONDS, "ms"):
        raise ValueError(f"{text!r} is no time: seconds, or a number with ms, s, m, h or d")
    number = float(f"{found[1]}{found[2]}.{found[3] or 0}")
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def size(text: str) -> int:
    """Read a size: "1024", "512KiB", "16M", "1.5GiB", "10MB". raises ValueError(reason)"""
    found = _NUMBER.fullmatch(text)
    unit = (_SIZES | _OTHER_SIZES).get(found[4] or "") if found else None
    if not found or unit is None:
        known = "KiB, MiB, GiB, TiB (or k, m, g, t), kB, MB, GB, TB"
        raise ValueError(f"{text!r} is no size: bytes, or a number with one of {known}")
    part = found[3] or "0"
    scale: int = 10 ** len(part)
    units, rest = divmod(int(found[2] + part) * unit, scale)
    if rest:
        raise ValueError(f"{text!r} is no whole number of bytes")
    return -units if found[1] else units


def write_seconds(value: float) -> str:
    """The shortest text that seconds() reads as this value: "5m", "1.5s"."""
    for unit, factor in _SECONDS.items():
        if value and value % factor == 0:
            return f"{value // factor:.0f}{unit}"
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return f"{text}s"


def write_size(value: int) -> str:
    """The text in the largest unit that keeps it whole: "16MiB", "1000B"."""
    for unit, factor in _SIZES.items():
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return "0B"


def is_id(text: str) -> bool:
    """Tell whether a user or group is named by a number; -1 and 2**32 - 1 mean none."""
    return text.isascii() and text.isdecimal() and len(text) < 11 and int(text) < 2**32 - 1
