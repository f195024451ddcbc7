"""Paths of URLs: decoded once, compared, parted on segment borders; then anything at all."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatebridge.environ.paths import decode, normal, path_of, under
from tests.environ.making import SOFTWARE, environ, get


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a%20b/%C3%A9?x=1", "/a b/\xc3\xa9"),
        ("/%2541", "/%41"),
        ("/%", "/%"),
        ("/%4", "/%4"),
        ("/%4g%zz%+1", "/%4g%zz%+1"),
        ("/%00%0d%0A", "/\0\r\n"),
        ("/%2F%2e", "//."),
        ("/?a=/b%20", "/"),
        ("//x//y", "//x//y"),
        ("http://h/app/x?y", "/app/x"),
        ("https://h", "/"),
        ("http://h?x=/y", "/"),
        ("HTTP://user@h:80/%41", "/A"),
        ("*", None),
        ("h:443", None),
        ("://h/x", None),
        ("a b://h/x", None),
        ("", None),
    ],
)
def test_C19_path_of_a_request_target(uri: str, path: str | None) -> None:
    assert path_of(uri) == path


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/a/b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.hidden/..x/...", "/.hidden/..x/..."),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ],
)
def test_C19_normal_form(path: str, clean: str) -> None:
    assert normal(path) == clean


@pytest.mark.parametrize(
    ("path", "mount", "inside"),
    [
        ("/app", "/app", True),
        ("/app/x", "/app", True),
        ("/apple", "/app", False),
        ("/", "/app", False),
        ("/x", "", True),
        ("", "", True),
        ("", "/app", False),
        ("/APP/x", "/app", False),
    ],
)
def test_T3_mounts_end_on_segment_borders(path: str, mount: str, inside: bool) -> None:
    assert under(path, mount) is inside


TEXT = st.text(st.characters(max_codepoint=255), max_size=30)
PATHS = st.one_of(
    TEXT,
    st.lists(
        st.sampled_from(["/", "/app", "//", "/..", "/.", "%2F", "%0a", "%00", "\n", "%", "a", "?"]),
        max_size=8,
    ).map("".join),
)
MAYBE = st.none() | PATHS


@settings(max_examples=600, deadline=None)
@given(
    front=st.sampled_from(sorted(SOFTWARE)),
    uri=MAYBE,
    script=MAYBE,
    info=MAYBE,
    document=MAYBE,
    filename=st.sampled_from([None, "proxy:fcgi://h/x", "proxy:fcgi://h//srv/x", "/srv/x"]),
    mount=st.sampled_from([None, "", "/app", "/app/a"]),
)
@example("nginx", "/app/a%0ab", "/app/a\nb", "", None, None, None)
@example("nginx", "/app/a%0a", "/app", "/a", None, None, "/app")
def test_C19_T3_any_path(
    front: str,
    uri: str | None,
    script: str | None,
    info: str | None,
    document: str | None,
    filename: str | None,
    mount: str | None,
) -> None:
    """Whatever the variables hold: no exception, both strings sane, nothing made up."""
    sent = {
        "REQUEST_URI": uri,
        "SCRIPT_NAME": script,
        "PATH_INFO": info,
        "DOCUMENT_URI": document,
        "SCRIPT_FILENAME": filename,
    }
    made = get(front, **{name: value for name, value in sent.items() if value is not None})
    built = environ(made, mount)
    name, rest = built["SCRIPT_NAME"], built["PATH_INFO"]
    assert isinstance(name, str)
    assert isinstance(rest, str)
    assert name == "" or (name[0] == "/" and name[-1] != "/")
    assert rest == "" or rest[0] == "/"
    assert name + rest != ""
    if mount is not None and under(name + rest, mount):
        assert name == mount or not under(rest, mount)
    known = {normal(decode(text)) for text in _sources(sent, mount)}
    assert normal(decode(name + rest)) in known | {"/*"}


def _sources(sent: dict[str, str | None], mount: str | None) -> list[str]:
    """Every path that the answer may have come from."""
    script, info = sent["SCRIPT_NAME"] or "", sent["PATH_INFO"] or ""
    script = script if script[:1] in ("", "/") else "/" + script
    info = info if info[:1] in ("", "/") else "/" + info
    bare = script.removesuffix("/")
    url = path_of(sent["REQUEST_URI"] or "") or ""
    out = [script + info, bare + info, bare + (info or "/"), info, url, sent["DOCUMENT_URI"] or ""]
    out += [bare, script, "/", (mount or "") + info, (mount or "") + bare + info]
    return [*out, bare + info + "\n", (mount or "") + script, (mount or "") + "/"]
