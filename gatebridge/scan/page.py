"""A report as one HTML page: no script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING

from gatebridge.scan import report as lines
from gatebridge.scan.facts import EFFECTS
from gatebridge.scan.mode import NAMES, PHRASES
from gatebridge.scan.report import shown, what, why

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.scan.facts import Fact
    from gatebridge.scan.program import Imported, Program
    from gatebridge.scan.report import Report

_WEIGHTS = (
    ("warm", "Keeps it from sharing an interpreter"),
    ("restored", "Set back after each request"),
    ("note", "Worth knowing"),
)
_STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f7f9; --sheet: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4;
  --wsgi: #116329; --inproc: #1a7f37; --warm: #0b5fb3; --exec: #7d4e00; --none: #b3141f }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0f1317; --sheet: #171c22; --ink: #e6eaee; --soft: #9aa4af; --line: #2f3740;
  --wsgi: #6fdd8b; --inproc: #4ac26b; --warm: #6cb6ff; --exec: #e0a84e; --none: #ff8078 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; padding-top: .5rem }
h3 { font-size: .8rem; margin: .9rem 0 .1rem; color: var(--soft); font-weight: 600 }
p { margin: .3rem 0 }
.soft { color: var(--soft) }
nav { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0 }
nav a, .tile { flex: 1 1 8rem; padding: .6rem .9rem; background: var(--sheet); color: inherit;
  border: 1px solid var(--line); border-radius: .5rem; text-decoration: none }
nav b { display: block; font-size: 1.5rem; line-height: 1.2 }
nav a:hover, nav a:focus-visible { border-color: currentColor }
details { background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem;
  margin: .4rem 0; padding: .5rem .9rem }
summary { cursor: pointer; overflow-wrap: anywhere }
summary .why { display: block; color: var(--soft); font-size: .9rem }
code, .path { font-family: ui-monospace, monospace; font-size: .92em }
.path { font-weight: 600 }
.pill { font-size: .78rem; font-weight: 600; border: 1px solid; border-radius: 1rem;
  padding: .05rem .55rem; margin-left: .3rem; white-space: nowrap }
.wsgi { color: var(--wsgi) } .inproc { color: var(--inproc) } .warm { color: var(--warm) }
.exec { color: var(--exec) } .none { color: var(--none) }
ul { margin: .1rem 0; padding-left: 1.2rem }
li { overflow-wrap: anywhere }
.wrong { color: var(--none) }
@media print { body { background: none } }
"""


def page(report: Report) -> Iterator[str]:
    """The page in pieces: there may be thousands of programs."""
    name = _text(os.path.basename(os.path.abspath(report.folder)) or "/")
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{name}: gatebridge scan</title>\n<style>{_STYLE}</style></head>\n<body><main>\n"
    )
    yield f"<h1>{name}</h1>\n<p class=soft>{_text(os.path.abspath(report.folder))}</p>\n"
    yield from (f"<p>{_text(line)}</p>\n" for line in lines.summary(report))
    yield from _tiles(report)
    yield from _troubles(report)
    for mode in reversed(NAMES):
        items = [item for item in report.programs if item.mode.name == mode]
        if items:
            yield f'<h2 id="{mode}" class="{mode}">{mode}: {PHRASES[mode]}</h2>\n'
        for item in items:
            yield from _program(item)
    yield from _beside(report)
    yield "</main></body></html>\n"


def _tiles(report: Report) -> Iterator[str]:
    yield "<nav>\n"
    for mode, count in report.counts().items():
        if count:
            yield (
                f'<a href="#{mode}" class="{mode}"><b>{count}</b>{mode}'
                f"<br><small class=soft>{PHRASES[mode]}</small></a>\n"
            )
    yield "</nav>\n"


def _troubles(report: Report) -> Iterator[str]:
    """Problems of all programs, first: they are what exit status 6 is about."""
    if not report.problem_count:
        return
    yield "<h2 class=wrong>Problems</h2>\n<ul>\n"
    for path, (_, text) in report.folders:
        yield f"<li><span class=path>{_text(path)}/</span> {_text(text)}</li>\n"
    for item in report.programs:
        for _, text in item.problems:
            yield f"<li><span class=path>{_text(item.path)}</span> {_text(text)}</li>\n"
    yield "</ul>\n"


def _program(item: Program) -> Iterator[str]:
    mark = f" <span class=wrong>{len(item.problems)} wrong</span>" if item.problems else ""
    yield (
        f"<details><summary><span class=path>{_text(item.path)}</span>"
        f'<span class="pill {item.mode.name}">{item.mode.name}</span> {_text(what(item))}{mark}'
        f"<span class=why>{_text(why(item))}</span></summary>\n"
    )
    about = [f"{item.size:,} bytes"]
    if item.source is not None:
        source = item.source
        about += [f"encoding {source.encoding or 'unknown'}", f"read by {source.read_by}"]
        about.append(source.why + (f" (line {source.line})" if source.line else ""))
    if item.line_ends == "crlf":
        about.append("lines end with CR LF")
    if item.mode.can:
        about.append(f"can run as {', '.join(item.mode.can)}")
    yield f"<p class=soft>{_text('; '.join(about))}</p>\n"
    if item.problems:
        rows = "".join(f"<li>{_text(text)}</li>" for _, text in item.problems)
        yield f"<h3>Problems</h3><ul class=wrong>{rows}</ul>\n"
    for weight, title in _WEIGHTS:
        rows = "".join(_fact(fact) for fact in item.facts if EFFECTS[fact.code][0] == weight)
        if rows:
            yield f"<h3>{title}</h3><ul>{rows}</ul>\n"
    if item.imports:
        yield f"<h3>Imports</h3><ul>{''.join(map(_import, item.imports))}</ul>\n"
    yield "</details>\n"


def _fact(fact: Fact) -> str:
    place = f"{_text(fact.file)}:{fact.line}" if fact.file else f"line {fact.line}"
    where = f" <span class=soft>{place}{', at the import' if fact.at_import else ''}</span>"
    return (
        f"<li><code>{_text(fact.text)}</code> {_text(EFFECTS[fact.code][1])}"
        f"{where if fact.line else ''}</li>"
    )


def _import(item: Imported) -> str:
    state = item.state
    word = state.word + (f", gone in Python {state.version}" if state.version else "")
    word += ", but it can do without" if item.is_optional else ""
    word += f": {state.advice}" if state.advice else ""
    is_wrong = state.word in ("missing", "removed") and not item.is_optional
    return (
        f"<li><code>{_text(item.name)}</code> "
        f'<span class="{"wrong" if is_wrong else "soft"}">{_text(word)}, line {item.line}</span>'
        "</li>"
    )


def _beside(report: Report) -> Iterator[str]:
    if report.modules:
        rows = "".join(f"<li class=path>{_text(item.path)}</li>" for item in report.modules)
        yield f"<h2>Python modules beside them</h2><ul>{rows}</ul>\n"
    if report.left_out:
        yield "<h2>Left out</h2><ul>\n"
        for path, reason in report.left_out:
            yield f"<li><span class=path>{_text(path)}</span> {_text(reason)}</li>\n"
        yield "</ul>\n"


def _text(text: str) -> str:
    return escape(shown(text))
