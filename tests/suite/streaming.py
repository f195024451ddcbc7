"""What one request row cannot show: pieces that arrive one by one, and clients that leave."""

from tests.suite import wires
from tests.suite.modes import Mode, new_token, noted, wait_until
from tests.suite.wires import Req


def check_streamed(mode: Mode, app: str) -> None:
    """W035: the first block is with the client before the second is asked for.

    The application waits for a file that appears only when the client has the first block.
    """
    gate = mode.folder / f"gate-{new_token()}"

    def seen(data: bytes) -> None:
        if b"first\n" in data:
            gate.touch()

    request = Req(headers=(("Suite-App", app), ("Suite-Gate", str(gate))))
    resp = mode.send(request, seen)
    assert resp.body == b"first\nsecond\n", f"{mode.name}: {resp!r}"
    assert not resp.cut, f"{mode.name}: {resp!r}"


class Left(Exception):
    """Thrown in the client once it has read enough: its connection closes."""


def check_leaving(mode: Mode) -> None:
    """W038, F101: the client leaves in the middle of a long answer; close() is called, once."""
    token = new_token()

    def seen(data: bytes) -> None:
        if len(data) > 200_000:
            raise Left

    request = Req(headers=(("Suite-App", "endless"), ("Suite-Token", token)))
    try:
        mode.send(request, seen)
    except Left:
        pass
    else:
        raise AssertionError(f"{mode.name}: the whole answer was read")
    assert wait_until(lambda: "closed" in noted(mode, token), wires.DEADLINE_S), (
        f"{mode.name}: close() was not called: {noted(mode, token)}; {mode.log()[-2000:]}"
    )
    assert noted(mode, token) == ("closed",), f"{mode.name}: {noted(mode, token)}"
