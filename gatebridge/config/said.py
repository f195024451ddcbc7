"""What somebody said about an option, where, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebridge.settings import App, Pool


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was said.

    text  "/etc/gatebridge.toml:12", "GATEBRIDGE_THREADS", "--threads" or "default"
    key   in the file: "pool.shop.threads"
    line  in the file, to sort by
    """

    text: str
    key: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.text}: {self.key}" if self.key else self.text


DEFAULT = Place("default")


@dataclass(frozen=True, slots=True)
class Said:
    """The value of an option, and who said it. sound: False where the value is the default since
    what was said is wrong; nothing is to be concluded from it.
    """

    value: object
    place: Place
    sound: bool = True


Layer = dict[str, Said]  # by the option's name


@dataclass(frozen=True, slots=True)
class AppSaid:
    app: App
    place: Place


@dataclass(slots=True)
class Part:
    """What [server] and the tables beside it say, or what one pool says.

    apps, routes  [[app]] and [[route]]; None where nothing is said about them
    """

    place: Place
    layer: Layer = field(default_factory=dict)
    apps: list[AppSaid] | None = None
    routes: list[AppSaid] | None = None


@dataclass(slots=True)
class Document:
    """What a file says."""

    common: Part
    pools: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A pool that is not checked yet. place: where it begins; apps: of Pool.apps, in its order"""

    pool: Pool
    place: Place
    layer: Layer
    apps: list[AppSaid]

    def sound(self, *names: str) -> bool:
        return all(self.layer[name].sound for name in names if name in self.layer)

    def place_of(self, *names: str) -> Place:
        """Where the first of them was said that was said at all."""
        said = [self.layer[name].place for name in names if name in self.layer]
        return said[0] if said else self.place


@dataclass(frozen=True, slots=True)
class Problem:
    """One line for a person: where, and why it cannot be."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place.text else self.reason


def did_you_mean(word: str, known: list[str]) -> str:
    """A suggestion as the end of a sentence, or ""."""
    import difflib  # only when something is wrong

    plain = word.lower().replace("-", "_")
    near = difflib.get_close_matches(plain, known, 3)
    near.sort(key=lambda name: not name.startswith(plain[:2]))  # slips come later in a word
    ends = [name for name in known if name.endswith(f"_{plain}") or name.startswith(f"{plain}_")]
    found = [plain] if plain in known else near or ends
    return f"; did you mean {found[0]!r}?" if found else ""
