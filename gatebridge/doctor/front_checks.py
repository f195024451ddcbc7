"""The front server: does its configuration lead here, and say what the application needs?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, readable
from gatebridge.doctor.sessions import find_in_sources
from gatebridge.environ.build import Builder
from gatebridge.errors import ConfigError
from gatebridge.wire.request import Pairs, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.doctor.facts import Facts
    from gatebridge.doctor.passing import Passing
    from gatebridge.settings import Pool

_FILENAME: Final = re.compile(r"SCRIPT_FILENAME")
_TWICE: Final = re.compile(r"((?:/[\w.-]+){2,})/?\1")  # a folder, and once more behind itself

check = Checks("front server")


@check("front.file", "Can the front server's configuration that is named be read?")
def file(facts: Facts) -> Finding | None:
    try:
        _ = facts.passings
    except ConfigError as error:
        mend = "name the file that the server reads first, and see that doctor may read it"
        return Finding("a front server's configuration cannot be read", str(error), mend)
    return None


def _all(facts: Facts) -> list[Passing]:
    """What is said about a file that cannot be read, front.file says."""
    try:
        return facts.passings
    except ConfigError:
        return []


@check(
    "front.elsewhere",
    "Does the front server's configuration that is named lead here?",
    ("browser.not_reached",),
)
def elsewhere(facts: Facts) -> Finding | None:
    passings = _all(facts)
    if not (facts.meant.front_config and facts.binds) or file(facts) or facts.handed:
        return None
    if facts.started or (facts.meant.scripts and not any(one.targets for one in passings)):
        return None  # a shim finds its daemon by itself
    there = [f"{one.where}: {_leads(one)}" for one in passings]
    ours = ", ".join(bind.text for bind in facts.binds)
    return Finding(
        f"the front server hands no request to {ours}",
        "\n".join(there[:10]) or "it hands requests to nobody",
        f"write {ours} there, or bind where it looks; gatebridge conf writes such a file",
    )


def _leads(one: Passing) -> str:
    to = ", ".join(one.targets) or one.words.get("pass") or one.program
    why = one.words.get("why", "")
    return f"{one.protocol} to {to}{'; ' if why else ''}{why}"


@check(
    "front.script",
    "Does the front server's configuration that is named start the program?",
    ("browser.not_reached",),
)
def script(facts: Facts) -> Finding | None:
    passings = _all(facts)
    scripts = facts.meant.scripts
    if not (facts.meant.front_config and scripts) or file(facts) or facts.started:
        return None
    there = [f"{one.where}: {one.program}" for one in passings if one.program]
    return Finding(
        f"no line of the front server's configuration starts {scripts[0]}: it is sent as a file, "
        "or not found",
        "\n".join(there[:10]) or "no ScriptAlias, no handler cgi-script or fcgid-script",
        "ScriptAlias for its folder, or Options +ExecCGI and AddHandler cgi-script .cgi; "
        "gatebridge conf apache cgi writes it",
    )


@check(
    "front.protocol", "Does the front server speak the bind's protocol?", ("browser.not_reached",)
)
def protocol(facts: Facts) -> Finding | None:
    if not _all(facts):
        return None
    for one, bind, _ in facts.handed:
        speaking = {its.protocol for its in facts.binds if one.points_to(its)}
        if one.protocol not in speaking:
            return Finding(
                f"{one.server} speaks {one.protocol} to {bind.text}, which is {bind.protocol}",
                f"{one.where}: {one.words.get('pass', one.protocol)} to {', '.join(one.targets)}",
                f"the directives of {bind.protocol} there, or a bind of {one.protocol}",
            )
    return None


# -- the path


@check("front.path_info", "Do SCRIPT_NAME and PATH_INFO together make the path?", ("browser.path",))
def path_info(facts: Facts) -> Finding | None:
    for one, pool in _known(facts):
        found = _built(one, pool)
        if found is None or found[0] + found[1] == (one.mount or "") + SAMPLE:
            continue
        return Finding(
            f"the application gets another path than {one.server} was asked for",
            f"{one.where}: for {one.mount}{SAMPLE_URI} it sends {_shown(one)}, of which gatebridge "
            f"makes SCRIPT_NAME {readable(found[0])} and PATH_INFO {readable(found[1])}",
            f"--mount {one.mount or '/'} at the daemon, and REQUEST_URI from the front server; "
            "gatebridge conf writes the lines",
        )
    return None


@check(
    "front.mount", "Is the mount of the daemon where the front server has it?", ("browser.path",)
)
def mount(facts: Facts) -> Finding | None:
    for one, pool in _known(facts):
        found = _built(one, pool)
        if found is None or found[0] + found[1] != (one.mount or "") + SAMPLE:
            continue  # front.path_info says it
        if found[0] == one.mount:
            continue
        said = pool.settings.mount
        mend = f"--mount {one.mount or '/'} at the daemon"
        ours = "no --mount" if said is None else f"--mount {said or '/'}"
        return Finding(
            f"{one.server} has the application at {one.mount or '/'}, and the daemon at "
            f"{found[0] or '/'}: links that it makes lead elsewhere",
            f"{one.where}: it sends {_shown(one)}; the daemon has {ours}",
            mend,
        )
    return None


def _known(facts: Facts) -> list[tuple[Passing, Pool]]:
    """Those whose pool is known, and that hold one application: a mount is theirs alone."""
    return [
        (one, pool)
        for one, pool in _behind(facts)
        if one.mount is not None and one.sent and len(pool.apps) == 1
    ]


def _built(one: Passing, pool: Pool) -> tuple[str, str] | None:
    """SCRIPT_NAME and PATH_INFO that the application gets for the sample."""
    sent = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", **(one.sent or {})}
    front = one.server if pool.settings.front == "auto" else pool.settings.front
    builder = Builder(mount=pool.settings.mount, front=front)
    request = Request(1, dict(sent), False, Pairs(b"", lambda block: []))
    environ, _ = builder.build(request)
    return str(environ["SCRIPT_NAME"]), str(environ["PATH_INFO"])


def _shown(one: Passing) -> str:
    names = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")
    sent = one.sent or {}
    return (
        ", ".join(f"{name} {readable(sent[name])}" for name in names if name in sent) or "no path"
    )


@check("front.script_filename", "Is SCRIPT_FILENAME a file's name, where the application uses it?")
def script_filename(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        value = (one.sent or {}).get("SCRIPT_FILENAME", "")
        why = _no_file(value)
        for app in pool.apps if why else ():
            seen = find_in_sources(app.target, facts.folders(pool), _FILENAME)
            if seen:
                return Finding(
                    f"SCRIPT_FILENAME, which the application reads, has {why}",
                    f"{one.where}: SCRIPT_FILENAME {readable(value)}; {seen}",
                    "let the application go by its own __file__, or by SCRIPT_NAME and PATH_INFO",
                    WARNING,
                )
    return None


def _no_file(value: str) -> str:
    """What is wrong with it; "" for nothing."""
    wrong = ["the proxy's own prefix"] if value.startswith("proxy:") else []
    wrong += ["the document root twice"] if _TWICE.search(value) else []
    return " and ".join(wrong)


# -- limits


@check("front.upload", "Does the front server take bodies as large as the daemon does?")
def upload(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        ours = _largest(pool)
        if one.upload and (not ours or one.upload < ours):
            line = one.words.get("upload", "{0}").format(ours)
            status = one.words.get("refusal", "413")
            return Finding(
                f"{one.server} refuses bodies beyond {_mib(one.upload)} MiB with {status}, and the "
                f"daemon takes {f'{_mib(ours)} MiB' if ours else 'any'}",
                f"{one.where}: {line.partition(' ')[0]} is {one.upload}; limit_body is {ours}",
                f"{line} or limit_body = {one.upload} at the daemon",
                WARNING,
            )
    return None


@check("front.upload_behind", "Does the daemon take bodies as large as the front server does?")
def upload_behind(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        ours = _largest(pool)
        if one.upload and ours and one.upload > ours:
            line = one.words.get("upload", "{0}").format(ours)
            return Finding(
                f"{one.server} takes bodies up to {_mib(one.upload)} MiB, of which the daemon "
                f"refuses those beyond {_mib(ours)} MiB when they have come whole",
                f"{one.where}: it takes {one.upload} bytes; limit_body is {ours}",
                f"{line} or limit_body = {one.upload} at the daemon",
                WARNING,
            )
    return None


def _largest(pool: Pool) -> int:
    """Of the pool and what is in it; 0 for no limit."""
    every = [pool.settings.limit_body, *[app.limit_body for app in pool.apps if app.limit_body > 0]]
    return 0 if 0 in every else max(every)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.4g}"


@check("front.body_limit", "Does the front server keep to the body limit that is written there?")
def body_limit(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        ours = _largest(pool)
        if one.unheeded and (not ours or one.unheeded < ours):
            return Finding(
                f"{one.server} hands on bodies beyond LimitRequestBody {one.unheeded} by FastCGI "
                "and HTTP: the limit that is written is none",
                f"{one.where}: LimitRequestBody is {one.unheeded}; limit_body is {ours}",
                f"limit_body = {one.unheeded} at the daemon",
                WARNING,
            )
    return None


@check("front.timeout", "Does the front server wait as long as the daemon does?")
def timeout(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        settings = pool.settings
        if not settings.timeout or one.timeout is None:
            continue
        ours = settings.timeout + settings.queue_timeout
        if one.timeout <= ours:
            line = one.words.get("timeout", "{0}").format(f"{ours + 5:g}")
            return Finding(
                f"{one.server} gives up after {one.timeout:g} s, before the daemon does: its "
                "clients get a bare 504, and the work goes on",
                f"{one.where}: {one.timeout:g} s; the daemon: timeout {settings.timeout:g} s and "
                f"queue_timeout {settings.queue_timeout:g} s",
                line,
                WARNING,
            )
    return None


def _behind(facts: Facts) -> list[tuple[Passing, Pool]]:
    return [(one, pool) for one, pool in _spoken(facts) if pool is not None]


def _spoken(facts: Facts) -> list[tuple[Passing, Pool | None]]:
    """Those that are understood here; front.protocol says the others."""
    if not _all(facts):
        return []
    there = [(one, pool) for one, bind, pool in facts.handed if one.protocol == bind.protocol]
    return there + facts.started


@check("front.buffering", "Do streams that the application sends reach clients at once?")
def buffering(facts: Facts) -> Finding | None:
    for one, pool in _behind(facts):
        if not one.buffered:
            continue
        seen = facts.streams_of(pool)
        if seen:
            mend = one.words["buffered"].format()
            if one.server == "nginx":
                mend += " or the header X-Accel-Buffering: no from the application"
            return Finding(
                f"{one.server} collects answers, so events reach clients late",
                f"{one.where}: {one.buffered}; {seen}",
                mend,
                WARNING,
            )
    return None


# -- what is wrong by itself


def _flawed(id: str) -> Callable[[Facts], Finding | None]:
    def run(facts: Facts) -> Finding | None:
        for one, _ in _spoken(facts):
            for flaw in one.flaws:
                if flaw.id == id:
                    return Finding(flaw.cause, flaw.seen, flaw.mend, flaw.severity)
        return None

    return run


for _id, _question, _explains in (
    (
        "front.try_files",
        "Does the front server ask for paths that are no files?",
        ("browser.not_reached",),
    ),
    (
        "front.module",
        "Does the front server load the module that goes on from there?",
        ("browser.not_reached",),
    ),
    ("front.execute", "May the front server start programs there?", ("browser.not_reached",)),
    ("front.rewrite", "Do rules of mod_rewrite come to an end?", ("browser.not_reached",)),
    ("front.encoded", "Do paths come to the daemon as they were written?", ()),
    ("front.port", "Does a program listen where the front server asks?", ("browser.not_reached",)),
    ("front.slash", "Does a path reach its target with one / between?", ("browser.not_reached",)),
    ("front.scheme", "Is the application told that a request came by https?", ("browser.scheme",)),
    ("front.authorization", "Is the Authorization header handed on?", ()),
    ("front.header_buffer", "Do long headers and cookies fit?", ()),
    ("front.keep_conn", "Are the front server's lines for kept connections of one mind?", ()),
):
    check(_id, _question, _explains)(_flawed(_id))

CHECKS: Final = tuple(check)
