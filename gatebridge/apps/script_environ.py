"""What a CGI program finds in its environment and as its arguments (RFC 3875 sections 4.1, 4.4)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gatebridge.errors import PeerError

if TYPE_CHECKING:
    from gatebridge.apps.options import ScriptOptions

# Credentials are for the server; a program that checks them itself is given them by env=.
_SECRET = frozenset(
    (
        "HTTP_AUTHORIZATION",
        "HTTP_PROXY_AUTHORIZATION",
        "REDIRECT_HTTP_AUTHORIZATION",
        "REDIRECT_REDIRECT_HTTP_AUTHORIZATION",
    )
)
# A second word about the body, undone codings, and what is set below.
_NEVER = frozenset(
    (
        "GATEWAY_INTERFACE",
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_PROXY",  # CVE-2016-5385
        "HTTP_TRANSFER_ENCODING",
        "PATH",
        "PATH_TRANSLATED",
        "SCRIPT_FILENAME",
    )
)
# What tells a loader, a shell or an interpreter what to run. Nobody but the operator may say it,
# and he says it by env= and in gatebridge's own environment: whoever reaches the socket of a front
# server can send any variable (T8, T14).
_COMMANDS = frozenset(
    """BASHOPTS BASH_ENV CDPATH CLASSPATH EDITOR ENV GCONV_PATH GLIBC_TUNABLES GLOBIGNORE
    HOSTALIASES HTTPS_PROXY ALL_PROXY FTP_PROXY HOME IFS JAVA_TOOL_OPTIONS LANGUAGE LOCALDOMAIN
    LOCPATH
    LUA_CPATH LUA_INIT LUA_PATH MANPATH NLSPATH NODE_OPTIONS NODE_PATH PAGER PHPRC
    PHP_INI_SCAN_DIR PS4 RES_OPTIONS SHELL SHELLOPTS TCLLIBPATH TERMINFO TERMINFO_DIRS TERMCAP
    TMPDIR TMP TEMP VISUAL _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH
    GIT_ASKPASS GIT_EDITOR GIT_PAGER GIT_EXTERNAL_DIFF GIT_PROXY_COMMAND GIT_TEMPLATE_DIR
    OPENSSL_CONF OPENSSL_CONF_INCLUDE OPENSSL_ENGINES OPENSSL_MODULES SSLKEYLOGFILE SSL_CERT_DIR
    SSL_CERT_FILE SSH_ASKPASS""".split()
)
_COMMAND_FAMILIES = (
    "BASH_FUNC_",
    "DYLD_",
    "GIT_CONFIG",
    "LD_",
    "MALLOC_",
    "PERL",
    "PYTHON",
    "RUBY",
    "XDG_",
    "_RLD",
)


def variables(environ: dict[str, object], path: str, options: ScriptOptions) -> dict[bytes, bytes]:
    """The whole environment of a program.

    environ  as PEP 3333 has it: bytes as latin-1 text
    path     the program's file
    raises   PeerError("params.malformed") for a NUL or an "=" where none can be
    """
    found: dict[bytes, bytes] = {}
    for name, value in environ.items():
        if type(value) is str and _is_passed(name, options.env):
            _put(found, name, value)
    _put(found, "GATEWAY_INTERFACE", "CGI/1.1")
    _put(found, "PATH", options.path)
    found[b"SCRIPT_FILENAME"] = os.fsencode(path)
    _translate(found)
    for name in ("CONTENT_LENGTH", "CONTENT_TYPE", "PATH_INFO"):
        if not found.get(name.encode("ascii"), b"absent"):
            del found[name.encode("ascii")]
    found.setdefault(b"QUERY_STRING", b"")  # section 4.1.7: always there
    for name in options.env:
        own = os.environ.get(name)
        if own is not None and name not in _NEVER | _SECRET:
            found[os.fsencode(name)] = os.fsencode(own)
    if options.drop_shellshock:
        return {name: value for name, value in found.items() if not value.startswith(b"() {")}
    return found


def _is_passed(name: str, wanted: tuple[str, ...]) -> bool:
    if "." in name or name in _NEVER:  # wsgi.input, gatebridge.params: not of the request
        return False
    if name in _SECRET:
        return name in wanted
    if name.startswith("HTTP_"):
        return True
    upper = name.upper()  # curl and others read http_proxy
    return not (upper in _COMMANDS or upper == "HTTP_PROXY" or upper.startswith(_COMMAND_FAMILIES))


def _put(found: dict[bytes, bytes], name: str, value: str) -> None:
    key, data = _bytes(name), _bytes(value)
    if not key or b"=" in key or b"\0" in key or b"\0" in data:
        raise PeerError("params.malformed", f"{name[:32]!r} cannot be passed to a program")
    found[key] = data


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # a middleware's own
        return text.encode("utf-8", "surrogateescape")


def _translate(found: dict[bytes, bytes]) -> None:
    """PATH_TRANSLATED, where the document root is known and the path stays below it."""
    root, info = found.get(b"DOCUMENT_ROOT"), found.get(b"PATH_INFO")
    if root and info and info.startswith(b"/") and b".." not in info.split(b"/"):
        found[b"PATH_TRANSLATED"] = root.rstrip(b"/") + info


def arguments(environ: dict[str, object]) -> tuple[str, ...]:
    """The words of an indexed query, none for any other (section 4.4).

    None either where a word could be taken for an option of the program (CVE-2012-1823).
    """
    query = str(environ.get("QUERY_STRING", ""))
    method = environ.get("REQUEST_METHOD")
    if not query or "=" in query or method not in ("GET", "HEAD"):
        return ()
    words = [unquote_to_bytes(_bytes(word)) for word in query.split("+")]
    if any(word.startswith(b"-") or b"\0" in word for word in words):
        return ()
    return tuple([os.fsdecode(word) for word in words])
