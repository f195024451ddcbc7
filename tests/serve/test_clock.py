import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from gatebridge.serve import clock


@pytest.mark.parametrize("seconds", [0, 784111777, 1709164800, 4102444799])
def test_http_date_is_imf_fixdate(seconds):
    assert clock.http_date(seconds) == formatdate(seconds, usegmt=True)


def test_current_date_changes_with_the_second(monkeypatch):
    now = [784111777.75]
    fake = SimpleNamespace(time=lambda: now[0], gmtime=time.gmtime)
    monkeypatch.setattr(clock, "time", fake)
    assert clock.current_date() == "Sun, 06 Nov 1994 08:49:37 GMT"
    now[0] += 0.125
    assert clock.current_date() == "Sun, 06 Nov 1994 08:49:37 GMT"
    now[0] += 0.125
    assert clock.current_date() == "Sun, 06 Nov 1994 08:49:38 GMT"
