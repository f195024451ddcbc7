"""The text of a Date field, made once a second at most."""

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

_made = (-1, "")  # one tuple, so that threads see second and text change together


def http_date(seconds: int) -> str:
    """IMF-fixdate of RFC 9110 section 5.6.7; strftime() would use the locale's names."""
    now = time.gmtime(seconds)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {clock} GMT"


def current_date() -> str:
    """http_date() of now."""
    global _made
    now = int(time.time())
    second, text = _made
    if second != now:
        text = http_date(now)
        _made = (now, text)
    return text
