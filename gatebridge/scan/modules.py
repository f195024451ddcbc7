"""Is a module there? Folders are listed; nothing is imported."""

from __future__ import annotations

import functools
import os
import sys
from importlib.machinery import all_suffixes
from itertools import islice
from typing import NamedTuple

REMOVED = {  # name -> the Python that has it no more
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys((
        "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap",
        "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau",
        "telnetlib", "uu", "xdrlib",
    ), "3.13"),
    "binhex": "3.11", "formatter": "3.10", "parser": "3.10", "symbol": "3.10",
}  # fmt: skip
OF_PYTHON_2 = frozenset(
    """
    BaseHTTPServer Bastion CGIHTTPServer ConfigParser Cookie DocXMLRPCServer HTMLParser MimeWriter
    Queue SimpleHTTPServer SimpleXMLRPCServer SocketServer StringIO Tkinter UserDict UserList
    UserString __builtin__ anydbm bsddb cPickle cStringIO commands compiler cookielib copy_reg
    dbhash dircache dl dumbdbm exceptions fpformat gdbm hotshot htmlentitydefs htmllib httplib
    ihooks imputil md5 mhlib mimetools mimify multifile mutex new os2emxpath popen2 posixfile rexec
    rfc822 robotparser sets sgmllib sha statvfs stringold strop thread tkMessageBox toaiff urllib2
    urlparse user whichdb xmlrpclib
""".split()
)
_ADVICE = {
    "cgi": 'pip install "gatebridge[legacy]"', "cgitb": 'pip install "gatebridge[legacy]"',
    "MySQLdb": "pip install mysqlclient", "Image": "pip install pillow, then: from PIL import "
    "Image", "PIL": "pip install pillow", "yaml": "pip install pyyaml", "cv2":
    "pip install opencv-python-headless", "bs4": "pip install beautifulsoup4", "BeautifulSoup":
    "pip install beautifulsoup4, then: from bs4 import BeautifulSoup", "dateutil":
    "pip install python-dateutil", "psycopg2": "pip install psycopg2-binary", "ldap":
    "pip install python-ldap", "memcache": "pip install python-memcached", "Crypto":
    "pip install pycryptodome", "elementtree": "xml.etree.ElementTree is the same",
    "simplejson": "json is the same", "imp": "importlib has its parts", "pipes":
    "shlex.quote, subprocess", "crypt": "pip install legacycrypt", "telnetlib":
    "pip install standard-telnetlib", "asyncore": "pip install pyasyncore", "asynchat":
    "pip install pyasynchat", "smtpd": "pip install aiosmtpd", "distutils":
    "pip install setuptools", "imghdr": "pip install standard-imghdr", "nntplib":
    "pip install standard-nntplib", "uu": "pip install standard-uu", "mailcap":
    "pip install standard-mailcap", "sklearn": "pip install scikit-learn",
}  # fmt: skip
_SUFFIXES = tuple(all_suffixes())
_MOST_NAMES = 20_000


class State(NamedTuple):
    """word: "stdlib", "local", "found", "removed", "missing" or "unknown".

    version  the Python that has it no more, of those that are removed or will be
    advice   what to do about it
    """

    word: str
    version: str = ""
    advice: str = ""


_BROUGHT = frozenset({"flipflop", "flup"})  # by gatebridge run-script


def find(name: str, folder: str, places: tuple[str, ...], version: tuple[int, int]) -> State:
    """Where a module comes from, for a script in a folder.

    places   folders that the interpreter looks into; () when they are unknown
    version  the interpreter's
    """
    if _lies_in(name, folder):
        return State("local")
    elsewhere = any(_lies_in(name, place) for place in places) or _is_editable(name, places)
    if version[0] == 2:
        if name in OF_PYTHON_2 or name in sys.stdlib_module_names or name in REMOVED:
            return State("stdlib")
        return State("found" if elsewhere else "missing" if places else "unknown")
    if name in _BROUGHT and not elsewhere:
        return State("found", "", "gatebridge run-script brings it")
    gone = REMOVED.get(name, "3.0" if name in OF_PYTHON_2 else "")
    if gone and tuple(map(int, gone.split("."))) <= version:
        word = "found" if elsewhere else "removed"
        return State(word, gone, _ADVICE.get(name, ""))
    if gone or name in sys.stdlib_module_names:
        return State("stdlib", gone, _ADVICE.get(name, "") if gone else "")
    return State("found" if elsewhere else "missing", "", _ADVICE.get(name, ""))


def local_file(name: str, folder: str) -> str:
    """The source file of a module beside a script; "" when there is none."""
    for path in (f"{name}.py", os.path.join(name, "__init__.py")):
        if os.path.isfile(os.path.join(folder, path)):
            return os.path.join(folder, path)
    return ""


def own_places() -> tuple[str, ...]:
    """Where this interpreter finds what is installed, without its command's own folder."""
    started = {"", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))}
    first = 1 if sys.path[:1] and sys.path[0] in started and not sys.flags.safe_path else 0
    return tuple(place for place in sys.path[first:] if os.path.isdir(place))


@functools.lru_cache(maxsize=64)
def places_of(interpreter: str, version: str) -> tuple[str, ...]:
    """The same for another interpreter, by where such folders usually lie."""
    series = ".".join(version.split(".")[:2])
    major = series.partition(".")[0]
    homes = [os.path.dirname(os.path.dirname(interpreter))]
    homes.append(os.path.dirname(os.path.dirname(os.path.realpath(interpreter))))
    found = []
    for home in dict.fromkeys([*homes, "/usr/local"]):
        for part in (f"lib/python{series}/site-packages", f"lib/python{series}/dist-packages",
                     f"lib/python{major}/dist-packages", f"lib64/python{series}/site-packages",
                     f"lib/python{series}"):  # fmt: skip
            path = os.path.join(home, part)
            if os.path.isdir(path):
                found.append(path)
    return tuple(found)


def _lies_in(name: str, folder: str) -> bool:
    return name in _modules_in(folder)


@functools.lru_cache(maxsize=256)
def _modules_in(folder: str) -> frozenset[str]:
    """Names that can be imported from a folder: modules and packages."""
    names = set()
    try:
        with os.scandir(folder) as listed:
            for item in islice(listed, _MOST_NAMES):
                if item.name.endswith(_SUFFIXES):
                    names.add(item.name.partition(".")[0])
                elif item.name.isidentifier() and item.is_dir():
                    names.add(item.name)
    except OSError:
        return frozenset()
    return frozenset(names)


def _is_editable(name: str, places: tuple[str, ...]) -> bool:
    """Does a hook of setuptools know it (pip install --editable)? Asking one imports nothing."""
    hooks = [hook for hook in sys.meta_path if hook.__module__.startswith("__editable__")]
    if not hooks or places != own_places():
        return False
    return any(hook.find_spec(name, None) is not None for hook in hooks)


def forget() -> None:
    """Look at every folder anew."""
    _modules_in.cache_clear()
    places_of.cache_clear()
