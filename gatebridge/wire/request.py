"""A request whose variables are complete, as every protocol and the CGI shim make it. Cold set."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESPONDER = 1
AUTHORIZER = 2
FILTER = 3

STDIN = 5
DATA = 8

UNKNOWN_LENGTH = -1


class Pairs:
    """The variables as they came, in order and with duplicates; decoded when somebody looks.

    split  block -> [(name, value), ...], latin-1 text
    """

    __slots__ = ("_block", "_pairs", "_split")

    def __init__(self, block: bytes, split: "Callable[[bytes], list[tuple[str, str]]]") -> None:
        self._block = block
        self._split = split
        self._pairs: list[tuple[str, str]] | None = None

    def all(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = self._split(self._block)
        return self._pairs

    def __iter__(self) -> "Iterator[tuple[str, str]]":
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def __getitem__(self, index: int) -> tuple[str, str]:
        return self.all()[index]

    def __repr__(self) -> str:
        return f"Pairs({self.all()!r})"


class Event:
    """Equality and repr for what protocols report."""

    __slots__ = ()

    def state(self) -> tuple[object, ...]:
        return ()

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self) and isinstance(other, Event) and other.state() == self.state()
        )

    def __hash__(self) -> int:
        return hash(self.state())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.state()!r}"


class Request(Event):
    """The variables of a request are complete; the application may be called.

    id        the protocol's request id; 1 where the protocol has none
    vars      name -> value, latin-1; of a name sent twice the last value. The receiver owns it
    repeated  some name came more than once (pairs has them all)
    pairs     the raw variables
    role      RESPONDER, AUTHORIZER or FILTER
    body      what had arrived of STDIN together with the variables
    complete  STDIN (for a FILTER: DATA too) is at its end: no Body, no BodyEnd will follow
    doubtful  CONTENT_LENGTH is known to be a front server's lie; BodyEnd tells the end
    """

    __slots__ = ("body", "complete", "doubtful", "id", "pairs", "repeated", "role", "vars")

    def __init__(
        self,
        id: int,
        vars: dict[str, object],
        repeated: bool,
        pairs: Pairs,
        role: int = RESPONDER,
        body: bytes = b"",
        complete: bool = True,
        doubtful: bool = False,
    ) -> None:
        self.id = id
        self.vars = vars
        self.repeated = repeated
        self.pairs = pairs
        self.role = role
        self.body = body
        self.complete = complete
        self.doubtful = doubtful

    def state(self) -> tuple[object, ...]:
        return (
            self.id,
            self.vars,
            self.repeated,
            self.pairs.all(),
            self.role,
            self.body,
            self.complete,
            self.doubtful,
        )

    def __hash__(self) -> int:
        return self.id
