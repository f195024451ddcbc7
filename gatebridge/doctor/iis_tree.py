"""IIS's XML as elements with their lines. No DOCTYPE, so no entities, and nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEPTH_MOST: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """name and the names of attributes are in lower case: IIS takes either."""

    name: str
    attributes: Mapping[str, str]
    line: int
    parent: Element | None

    def within(self, name: str) -> Element | None:
        """The nearest element of a name around it."""
        one = self.parent
        while one is not None and one.name != name:
            one = one.parent
        return one


def read_elements(text: str, path: str) -> list[Element]:
    """Every element, in order. raises ConfigError("doctor.front_config")"""
    found: list[Element] = []
    around: list[Element] = []
    parser = expat.ParserCreate("utf-8")

    def begin(name: str, attributes: dict[str, str]) -> None:
        if len(around) >= _DEPTH_MOST:
            raise _refused(path, f"elements in more than {_DEPTH_MOST} others")
        lower = {key.lower(): value for key, value in attributes.items()}
        parent = around[-1] if around else None
        one = Element(name.lower(), lower, parser.CurrentLineNumber, parent)
        around.append(one)
        found.append(one)

    def end(name: str) -> None:
        around.pop()

    def doctype(*about: object) -> None:
        raise _refused(path, "a DOCTYPE has no place in it")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.removeprefix("\ufeff").encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise _refused(path, f"it is no XML in UTF-8: {error}") from error
    return found


def _refused(path: str, why: str) -> ConfigError:
    return ConfigError("doctor.front_config", f"{path}: {why}")
