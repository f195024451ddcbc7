"""What a program does that decides how it can be run: the codes, and what each means."""

from __future__ import annotations

from dataclasses import dataclass

# code -> (weight, what it does). The weights:
#   warm      keeps a script from sharing its interpreter with the next request
#   restored  inproc sets it back after each request
#   note      changes nothing about the mode, and matters to whoever moves the script
EFFECTS = {
    "os_exit": ("warm", "ends its process at once, past every clean-up"),
    "forks": ("warm", "forks"),
    "threads": ("warm", "starts threads, which may outlive the request"),
    "replaces": ("warm", "replaces its process by another program"),
    "identity": ("warm", "changes the user, root folder or session of its process"),
    "limits": ("warm", "changes limits or the priority of its process"),
    "interpreter_state": ("warm", "changes a setting of the interpreter that nobody sets back"),
    "patches": ("warm", "changes a module that other scripts use as well"),
    "sys_exit": ("restored", "ends by sys.exit"),
    "environ": ("restored", "changes os.environ"),
    "chdir": ("restored", "changes its folder"),
    "umask": ("restored", "changes its umask"),
    "signals": ("restored", "changes signal handlers or timers"),
    "atexit": ("restored", "has something done at its exit"),
    "locale": ("restored", "changes the locale"),
    "warnings": ("restored", "changes the filters of warnings"),
    "streams": ("restored", "puts others in the place of standard input, output or error"),
    "descriptors": ("restored", "uses its descriptors past sys.stdin and sys.stdout"),
    "import_path": ("restored", "changes sys.path"),
    "hooks": ("restored", "sets sys.excepthook, a trace or a profile function"),
    "writes_files": ("note", "writes, moves or removes files"),
    "starts_programs": ("note", "starts other programs"),
    "connects": ("note", "opens network connections"),
    "shell": ("note", "gives text to a shell"),
    "evaluates": ("note", "evaluates text as code"),
    "proxy": ("note", "makes web requests that obey HTTP_PROXY, which a client's Proxy header "
              "sets under servers that do not drop it; gatebridge never passes it"),
    "nph": ("note", "writes the whole HTTP answer itself: its name begins with nph-"),
    "serves": ("note", "serves a WSGI application itself"),
    "gateway": ("note", "runs on this engine unchanged by gatebridge run-script, or with one line "
                "changed to"),
    "lacking": ("note", "imports of flup what gatebridge has not, see docs/from-flup.md"),
    "shellshock": ("note", "is run by bash, which before 4.3-027 ran commands hidden in headers"),
    "python_2": ("note", "uses what Python 3 has not"),
}  # fmt: skip

_MOST = 200  # facts of one program
_MOST_ALIKE = 5


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a program does.

    code    a key of EFFECTS
    line    from 1; 0 for the file as a whole
    text    the name that was used: "os.fork"
    at_import  it happens when the file is loaded, not in a function or under a main guard
    file    below the scanned folder, where it is not the program itself that does it
    """

    code: str
    line: int
    text: str
    at_import: bool = False
    file: str = ""


def some(facts: list[Fact]) -> tuple[Fact, ...]:
    """By line; of what is done many times only the first few, those at the import first."""
    counts: dict[tuple[str, str], int] = {}
    kept: list[Fact] = []
    for fact in sorted(facts, key=lambda fact: (not fact.at_import, fact.file, fact.line)):
        key = (fact.code, fact.file)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= _MOST_ALIKE and len(kept) < _MOST:
            kept.append(fact)
    return tuple(sorted(kept, key=lambda fact: (fact.file, fact.line)))
