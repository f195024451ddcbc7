"""Bodies kept until they are read: memory, then a file that has no name (T18)."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.engine.spill import Spill, Spooled, spool
from gatebridge.errors import PeerError
from tests.engine.test_body import Pieces, cut

HUGE = 1 << 62  # no disk has that much free


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def drained(spill: Spill, want: int) -> bytes:
    parts = []
    while piece := spill.get(want):
        assert len(piece) <= want
        parts.append(piece)
    return b"".join(parts)


@pytest.mark.parametrize("threshold", [0, 10, 1000, 1 << 20])
@pytest.mark.parametrize("want", [1, 7, 100_000])
def test_T18_the_bytes_come_out_as_they_went_in(tmp_path: Path, threshold: int, want: int) -> None:
    data = bytes(range(256)) * 10
    spill = Spill(threshold, str(tmp_path), 0)
    for piece in cut(data, 33):
        spill.put(piece)
    assert spill.size == len(data)
    assert drained(spill, want) == data
    assert spill.size == 0
    spill.close()


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(st.one_of(st.binary(min_size=1, max_size=60), st.integers(1, 50)), max_size=30),
    threshold=st.sampled_from([0, 20, 10_000]),
)
def test_T18_a_queue_in_any_order(steps, threshold) -> None:
    """Reading and writing take turns, as a slow application and a quick peer do."""
    spill, kept = Spill(threshold, None, 0), b""
    for step in steps:
        if isinstance(step, bytes):
            spill.put(step)
            kept += step
        else:
            got = spill.get(step)
            assert kept.startswith(got)
            assert bool(got) == bool(kept)
            kept = kept[len(got) :]
        assert spill.size == len(kept)
    assert drained(spill, 16) == kept
    spill.close()


def test_T18_an_empty_piece_is_no_end() -> None:
    """get() gives b"" for "empty", which a reader takes for the end of the body."""
    spill = Spill(100, None, 0)
    for piece in (b"", b"ab", b"", b"c"):
        spill.put(piece)
    assert drained(spill, 9) == b"abc"


def test_T18_up_to_the_threshold_there_is_no_file(tmp_path: Path) -> None:
    before = fds()
    spill = Spill(100, str(tmp_path / "not there"), 0)
    spill.put(b"x" * 100)
    assert fds() == before
    with pytest.raises(PeerError, match=r"body\.no_space"):
        spill.put(b"x")


def test_T18_the_file_has_no_name_and_is_ours_alone(tmp_path: Path) -> None:
    spill = Spill(0, str(tmp_path), 0)
    spill.put(b"x" * 100)
    assert list(tmp_path.iterdir()) == []
    (link,) = [fd for fd in os.listdir("/proc/self/fd") if str(tmp_path) in _target(fd)]
    assert os.stat(f"/proc/self/fd/{link}").st_mode & 0o777 == 0o600
    assert not os.get_inheritable(int(link))  # T22
    spill.close()


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_T18_close_and_the_end_of_the_object_free_the_descriptor(tmp_path: Path) -> None:
    before = fds()
    spill = Spill(0, str(tmp_path), 0)
    spill.put(b"x")
    spill.close()
    spill.close()
    assert (fds(), spill.size, spill.get(9)) == (before, 0, b"")
    another = Spill(0, str(tmp_path), 0)
    another.put(b"x")
    del another
    assert fds() == before


def test_T18_below_the_floor_nothing_is_written(tmp_path: Path) -> None:
    before = fds()
    spill = Spill(10, str(tmp_path), HUGE)
    spill.put(b"x" * 10)  # memory is not the disk
    with pytest.raises(PeerError) as raised:
        spill.put(b"x")
    assert raised.value.code == "body.no_space"
    assert (fds(), spill.size, list(tmp_path.iterdir())) == (before, 0, [])


def fill(spill: Spill, mebibytes: int) -> None:
    for _ in range(mebibytes):
        spill.put(b"x" * (1 << 20))


def test_T18_the_floor_is_looked_at_again_as_the_file_grows(tmp_path: Path) -> None:
    """One that starts above the floor must not go far below it."""
    spill = Spill(0, str(tmp_path), 0)
    spill.put(b"x")
    spill._floor = HUGE  # as if somebody else had filled the disk meanwhile
    with pytest.raises(PeerError, match=r"body\.no_space"):
        fill(spill, 40)
    assert spill.size == 0


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_T18_a_folder_that_cannot_be_used_is_no_space(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeerError, match=r"body\.no_space"):
        Spill(0, str(tmp_path / folder), 0).put(b"x")


# -- spool()


@pytest.mark.parametrize("limit", [100, 1000])
def test_T18_a_body_up_to_the_limit(limit: int) -> None:
    data = b"x" * limit
    body = spool(Pieces(cut(data, 30)), b"", Spill(50, None, 0), limit)
    assert body.length == limit
    assert body.gather(limit * 2) == data


def test_T18_what_came_first_is_part_of_it() -> None:
    body = spool(Pieces([b"second"]), b"first", Spill(50, None, 0), 100)
    assert (body.length, body.pull(99), body.pull(99)) == (11, b"first", b"second")


@pytest.mark.parametrize("first", [b"", b"x" * 50, b"x" * 101])
def test_T18_one_byte_beyond_the_limit(tmp_path: Path, first: bytes) -> None:
    before = fds()
    source = Pieces(cut(b"x" * (101 - len(first)), 10) if len(first) < 101 else [])
    with pytest.raises(PeerError) as raised:
        spool(source, first, Spill(0, str(tmp_path), 0), 100)
    assert raised.value.code == "body.too_big"
    assert fds() == before


FAULTS = [PeerError("body.timeout"), PeerError("body.no_space"), ConnectionResetError("gone")]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_F045_a_body_that_stops_is_not_a_whole_one(error) -> None:
    with pytest.raises(type(error)):
        spool(Pieces([b"ab"], then=error), b"", Spill(50, None, 0), 100)


def test_an_empty_body_has_length_0() -> None:
    body: Spooled = spool(Pieces([]), b"", Spill(50, None, 0), 100)
    assert (body.length, body.pull(9), body.gather(9)) == (0, b"", b"")
