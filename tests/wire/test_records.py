"""FastCGI records and name-value pairs: rows of sections 3.3, 3.4, 5.1 and 5.5."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatebridge.errors import PeerError
from gatebridge.wire import records
from tests.wire.fastcgi_rows import block, pairs_of, rec, split, whole

MANY = 1 << 20


def decoded(data: bytes, most: int = MANY) -> tuple[dict[str, object], bool]:
    return records.decode_pairs(data, most)


def sent(pieces: list[bytes | memoryview]) -> bytes:
    return b"".join(pieces)


# -- records


def test_F080_header_holds_a_16_bit_id_and_length() -> None:
    assert records.header(6, 0x1234, 0xABCD) == b"\x01\x06\x12\x34\xab\xcd\x00\x00"
    assert records.record(5, 65_535, b"ab") == rec(5, 65_535, b"ab")
    assert records.record(5, 1, bytes(65_535)) == rec(5, 1, bytes(65_535))


LENGTHS = [0, 1, 7, 65_534, 65_535, 65_536, 131_070, 131_071, 200_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_F120_a_stream_is_cut_into_records(length: int) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    data = data[:length]
    found = whole(sent(records.stream(6, 9, data)))
    assert all((kind, id) == (6, 9) and content for kind, id, content in found)
    assert b"".join(content for _, _, content in found) == data
    assert len(found) <= length // 65_528 + 1


def test_F120_long_content_is_not_copied() -> None:
    data = bytes(10 << 20)
    tracemalloc.start()
    pieces = records.stream(6, 1, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, pieces)) > len(data)
    assert peak < 1 << 20


ENDS = [
    (1, 0, 0, b"\0\0\0\0\0\0\0\0"),
    (0x1234, 1, 2, b"\0\0\0\1\2\0\0\0"),
    (9, 0xDEADBEEF, 3, b"\xde\xad\xbe\xef\3\0\0\0"),
    (9, -1, 0, b"\xff\xff\xff\xff\0\0\0\0"),
    (9, 1 << 32, 1, b"\0\0\0\0\1\0\0\0"),
]


@pytest.mark.parametrize(("id", "app", "protocol", "content"), ENDS)
def test_F126_end_request(id: int, app: int, protocol: int, content: bytes) -> None:
    assert records.end_request(id, app, protocol) == rec(3, id, content)


def test_F004_F005_F070_begin_request() -> None:
    assert records.begin_request(1, 1, 0) == rec(1, 1, b"\0\1\0\0\0\0\0\0")
    assert records.begin_request(0x100, 0x6301, 1) == rec(1, 256, b"\x63\1\1\0\0\0\0\0")


# -- pairs

SIZES = [0, 1, 2, 126, 127, 128, 129, 255, 256, 65_535, 65_536, 70_000]


@pytest.mark.parametrize("length", SIZES)
def test_F023_F024_F025_every_length_on_both_sides(length: int) -> None:
    for pair in [("A", "v" * length), ("n" * length, "v"), ("n" * length, "v" * length)]:
        for wide in (False, True):
            data = block(("B", ""), pair, ("C", "3"), wide=wide)
            expected = [("B", ""), pair, ("C", "3")]
            assert records.split_pairs(data) == expected
            assert decoded(data) == (dict(expected), False)
        assert records.encode_pairs(expected) == block(*expected)


def test_F022_four_byte_lengths_of_short_strings() -> None:
    data = b"\x80\0\0\1\x80\0\0\2Abc" + b"\x80\0\0\1\1Bd" + b"\1\x80\0\0\0C"
    assert records.split_pairs(data) == [("A", "bc"), ("B", "d"), ("C", "")]
    assert decoded(data)[0] == {"A": "bc", "B": "d", "C": ""}


def test_F026_F027_a_thousand_variables_and_more() -> None:
    pairs = [(f"NAME_{number}", "x" * 250) for number in range(1000)]
    data = block(*pairs)
    assert len(data) > 256 << 10
    assert decoded(data, 1000) == (dict(pairs), False)


def test_T21_too_many_variables() -> None:
    data = block(*[(f"N{number}", "") for number in range(11)])
    assert len(decoded(data, 11)[0]) == 11
    with pytest.raises(PeerError) as caught:
        decoded(data, 10)
    assert caught.value.code == "params.too_many"


def test_T21_the_same_name_over_and_over_counts_each_time() -> None:
    with pytest.raises(PeerError) as caught:
        decoded(block(*[("A", "")] * 11), 10)
    assert caught.value.code == "params.too_many"


def test_F028_an_empty_name_is_kept() -> None:
    assert decoded(block(("", "x"), ("A", "y"), ("", ""))) == ({"": "", "A": "y"}, True)


def test_F029_nul_bytes_stay_inside_their_value() -> None:
    assert decoded(block(("A", "b\0c"), ("D\0E", "\0")))[0] == {"A": "b\0c", "D\0E": "\0"}


def test_F030_every_byte_is_latin_1() -> None:
    text = bytes(range(256)).decode("latin-1")
    assert decoded(block(("A", text), (text, "b")))[0] == {"A": text, text: "b"}


def test_F034_of_a_name_sent_twice_the_last_value() -> None:
    assert decoded(block(("A", "1"), ("B", "2"), ("A", "3"))) == ({"A": "3", "B": "2"}, True)
    assert records.split_pairs(block(("A", "1"), ("A", "3"))) == [("A", "1"), ("A", "3")]


def test_F031_no_pairs_at_all() -> None:
    assert decoded(b"") == ({}, False)
    assert records.split_pairs(b"") == []


MALFORMED = [
    ("F032 one stray byte", b"\1"),
    ("F032 a stray byte behind a pair", block(("A", "b")) + b"\0"),
    ("F032 a length cut short", b"\1\x80\0\0"),
    ("F032 the first length cut short", b"\x80\0\0"),
    ("F032 the value's length is missing", b"\x80\0\0\1"),
    ("F032 name past the end", b"\5\0AB"),
    ("F032 value past the end", b"\1\5AB"),
    ("F032 by one byte", b"\1\2AB"),
    ("F032 a long value past the end by one", b"\1\x80\0\0\2AB"),
    ("F032 in the last of many", block(*[("A", "b")] * 9) + b"\1\2Ab"),
    ("F033 0x7FFFFFFF twice", b"\xff" * 8),
    ("F033 and more bytes behind", b"\xff" * 8 + bytes(1000)),
    ("F033 a name of 0x7FFFFFFF", b"\xff\xff\xff\xff\0" + bytes(100)),
    ("F033 a value of 0x7FFFFFFF", b"\1\xff\xff\xff\xffA"),
    ("F033 sum wraps at 32 bits", b"\xff\xff\xff\xff\x80\0\0\3" + bytes(100)),
]


@pytest.mark.parametrize(("name", "data"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_F032_F033_T1_lengths_past_the_end_are_refused(name: str, data: bytes) -> None:
    for read in (records.split_pairs, decoded):
        tracemalloc.start()
        with pytest.raises(PeerError) as caught:
            read(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.code == "params.malformed"
        assert peak < 1 << 20


def test_F032_every_cut_of_a_block_is_refused_or_is_a_shorter_block() -> None:
    pairs = [("A", "b"), ("", ""), ("LONG", "v" * 130), ("n" * 128, "x")]
    data = block(*pairs)
    ends = {len(block(*pairs[:count])): pairs[:count] for count in range(5)}
    for at in range(len(data) + 1):
        if at in ends:
            assert records.split_pairs(data[:at]) == ends[at]
            assert decoded(data[:at])[0] == dict(ends[at])
        else:
            for read in (records.split_pairs, decoded):
                with pytest.raises(PeerError):
                    read(data[:at])


def test_encode_pairs_takes_latin_1_only() -> None:
    with pytest.raises(UnicodeEncodeError):
        records.encode_pairs([("A", "\u20ac")])


TEXT = st.text(st.characters(max_codepoint=255), max_size=300)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_F020_pairs_survive_the_way_there_and_back(pairs: list[tuple[str, str]]) -> None:
    data = records.encode_pairs(pairs)
    assert pairs_of(data) == records.split_pairs(data) == pairs
    assert decoded(data) == (dict(pairs), len(dict(pairs)) != len(pairs))


@given(st.binary(max_size=60))
@example(b"\x00\x7f" + bytes(126))
@example(b"\x7f\x00" + bytes(127))
@example(b"\x00\x80\x00\x00\x7f" + bytes(127))
def test_T1_any_bytes_give_the_same_pairs_or_the_same_refusal(data: bytes) -> None:
    try:
        pairs: list[tuple[str, str]] | None = records.split_pairs(data)
    except PeerError:
        pairs = None
    try:
        found: dict[str, object] | None = decoded(data)[0]
    except PeerError:
        found = None
    assert found == (None if pairs is None else dict(pairs))
    if pairs is not None:
        assert pairs_of(data) == pairs


@given(st.binary(max_size=300), st.integers(1, 65_535))
def test_a_record_is_read_back(data: bytes, id: int) -> None:
    assert split(records.record(5, id, data) + b"\1") == ([(5, id, data)], b"\1")
