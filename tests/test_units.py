"""Times and sizes as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.units import seconds, size, write_seconds, write_size

TIMES = [
    ("0", 0.0),
    ("30", 30.0),
    ("30s", 30.0),
    ("30 s", 30.0),
    ("1.5s", 1.5),
    ("0.25", 0.25),
    ("500ms", 0.5),
    ("5m", 300.0),
    ("2h", 7200.0),
    ("1d", 86_400.0),
    ("-1", -1.0),  # the range of the option refuses it, and names it
]
SIZES = [
    ("0", 0),
    ("1000", 1000),
    ("1B", 1),
    ("512KiB", 512 << 10),
    ("16MiB", 16 << 20),
    ("16 MiB", 16 << 20),
    ("1GiB", 1 << 30),
    ("2TiB", 2 << 40),
    ("1.5GiB", 3 << 29),
    ("0.1kB", 100),
    ("16M", 16 << 20),
    ("16m", 16 << 20),
    ("8k", 8 << 10),
    ("10MB", 10_000_000),
    ("10kB", 10_000),
    ("-5", -5),
]
NEITHER = ["", " ", "s", "1 0", "1_0", "+1", "1e3", "inf", "nan", "0x10", "٣", "1..2", ".5", "5.",
           "1s2", "1  s", " 1", "1 ", "1\n", "1" * 20, "--1", "1,5"]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), TIMES, ids=[row[0] for row in TIMES])
def test_a_time(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), SIZES, ids=[row[0] for row in SIZES])
def test_a_size(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", [*NEITHER, "1M", "1sec", "1 hour", "1MS", "16MiB"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds(text)


@pytest.mark.parametrize("text", [*NEITHER, "1s", "1KIB", "1mib", "1Mb", "1kb"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        size(text)


@pytest.mark.parametrize("text", ["0.5", "0.5B", "1.0001kB", "0.3KiB"])
def test_a_part_of_a_byte_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        size(text)


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_what_is_written_is_read_as_the_same(value: int) -> None:
    assert size(write_size(value)) == value
    assert seconds(write_seconds(value)) == value
    assert seconds(write_seconds(value / 1000)) == value / 1000


WRITTEN = [(0, "0s"), (30, "30s"), (90, "90s"), (300, "5m"), (86_400, "1d"), (0.02, "0.02s")]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_a_time_is_written_in_the_largest_whole_unit(value: float, text: str) -> None:
    assert write_seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0B"), (1000, "1000B"), (1 << 20, "1MiB"),
                                             (1 << 40, "1TiB"), (3 << 29, "1536MiB")])  # fmt: skip
def test_a_size_is_written_in_the_largest_whole_unit(value: int, text: str) -> None:
    assert write_size(value) == text
