"""Digits, tokens and control characters: what int(), str.isalnum() and others take too easily."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatebridge.errors import PeerError
from gatebridge.wire.scan import decimal, has_controls, is_token

MOST = (1 << 63) - 1

DIGITS = [("0", 0), ("00", 0), ("7", 7), ("0042", 42), ("9" * 18, 10**18 - 1), (str(MOST), MOST)]


@pytest.mark.parametrize(("text", "value"), DIGITS)
def test_F047_digits(text: str, value: int) -> None:
    assert decimal(text, MOST) == value


MALFORMED = [
    "", " ", "abc", "-1", "+1", " 5", "5 ", "\t5", "5\n", "1_0", "1e3", "1.0", "0x10", "5,5",
    "5, 5", "\xb2", "\u0661", "\uff11", "5\0", "--5", "nan", "inf", "1\xa0",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=[repr(text) for text in MALFORMED])
def test_F047_T9_what_int_would_take_or_only_looks_like_digits(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        decimal(text, MOST)
    assert caught.value.code == "length.malformed"


TOO_BIG = [
    ("11", 10),
    (str(MOST + 1), MOST),
    ("100000000000000000000", MOST),
    ("9" * 100_000, MOST),
    ("0" * 20, MOST),  # twenty digits are refused before anybody looks at their value
]


@pytest.mark.parametrize(("text", "limit"), TOO_BIG, ids=[row[0][:24] for row in TOO_BIG])
def test_F047_over_the_limit(text: str, limit: int) -> None:
    with pytest.raises(PeerError) as caught:
        decimal(text, limit)
    assert caught.value.code == "length.too_big"
    assert len(caught.value.detail) < 100


def test_the_limit_itself_is_accepted() -> None:
    assert decimal("10", 10) == 10
    assert decimal("0", 0) == 0


@given(st.text(max_size=8))
def test_T9_ascii_digits_or_nothing(text: str) -> None:
    try:
        value = decimal(text, MOST)
    except PeerError:
        assert not text or set(text) - set("0123456789")
    else:
        assert value == int(text)
        assert set(text) <= set("0123456789")


TOKENS = ["GET", "M-SEARCH", "a", "X-Y_z.1", "!#$%&'*+-.^_`|~", "0"]
NO_TOKENS = ["", " ", "G T", "GET\n", "a:b", "a/b", "(x)", "[x]", "{x}", "x=y", "x;y", '"x"', "\\",
             "a,b", "<x>", "a@b", "a?b", "\x7f", "\0", "\xe9", "\u20ac", "a\t"]  # fmt: skip


@pytest.mark.parametrize("text", TOKENS)
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", NO_TOKENS, ids=[repr(text) for text in NO_TOKENS])
def test_no_tokens(text: str) -> None:
    assert not is_token(text)


def test_has_controls_names_all_of_them_but_the_tab() -> None:
    for number in range(256):
        expected = (number < 32 and number != 9) or number == 127
        for text in (chr(number), f"a{chr(number)}", f"{chr(number)}b", f"a{chr(number)}\xe9"):
            assert has_controls(text) == expected, number
    assert not has_controls("")
    assert not has_controls("\u20ac\xa0\xad")
