"""Which servers and forms ``gatebridge conf`` knows: the one table that lists the builders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatebridge.fronts.place import Place


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of a server's configuration; one form is one file.

    about   a sentence for the list of forms
    sample  its name in conf/
    file    where Debian keeps it, "{name}" being the place's name; "" where it has no such place
            (a part of something else), so that --install refuses
    after   commands for the operator once it is installed, in order
    """

    about: str
    sample: str
    file: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """What a builder makes, and how the server itself tests it.

    build     (place, form) -> text
    forms     name -> Form; the first is the one without a name
    programs  the server's program, by the names it goes under; () where none can test it
    check     arguments after it; "{file}" is what ``whole`` made, "{folder}" a private folder
    whole     (text, form, folder) -> a configuration that stands alone, for the test only;
              None: the text itself does
    suffix    of the file that is tested, for programs that look at it
    comment   what begins a comment, for the first line of an installed file
    package   that brings the program
    """

    build: Callable[[Place, str], str]
    forms: Mapping[str, Form]
    programs: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    whole: Callable[[str, str, str], str] | None = None
    suffix: str = ".conf"
    comment: str = "#"
    package: str = ""


SERVERS: dict[str, Server] = {}
