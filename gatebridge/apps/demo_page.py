"""The HTML of the demo: one page that needs nothing but itself."""

import os
import platform
import threading
from html import escape
from typing import Any
from urllib.parse import quote

import gatebridge
from gatebridge.apps.demo_variables import GROUPS, SECRET, place
from gatebridge.environ.report import explain

_PROTOCOLS = {
    "cgi": "CGI",
    "fastcgi": "FastCGI",
    "http": "HTTP/1.1",
    "scgi": "SCGI",
    "uwsgi": "uwsgi protocol",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5a6478; --line: #c9d0dc;
  --paper: #fff; --ground: #f3f5f9; --mark: #1f5fbf; --on-mark: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --soft: #a3adc0;
  --line: #3a4358; --paper: #1b2130; --ground: #121722; --mark: #7fb0ff; --on-mark: #10182a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.25rem 0 .6rem; font-size: 1.2rem; }
p.lead { margin: 0 0 1.5rem; color: var(--soft); }
a { color: var(--mark); }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
code, td, th[scope=row] { font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace; }
ol.chain { display: flex; flex-wrap: wrap; gap: .75rem 0; margin: 0; padding: 0; list-style: none; }
ol.chain li { display: flex; flex: 1 1 11rem; min-width: 0; }
ol.chain li + li::before { content: ""; flex: 0 0 1.6rem; height: 14px; margin: auto .2rem;
  background: var(--mark); clip-path: polygon(0 40%, 60% 40%, 60% 0, 100% 50%, 60% 100%,
  60% 60%, 0 60%); }
ol.chain div { flex: 1; min-width: 0; min-height: 7.5rem; padding: .8rem .9rem;
  border: 1px solid var(--line); border-top: 4px solid var(--mark); border-radius: .6rem;
  background: var(--paper); }
ol.chain small, ol.chain span { display: block; color: var(--soft); font-size: .85rem; }
ol.chain strong { display: block; overflow-wrap: anywhere; }
ol.chain span { overflow-wrap: anywhere; }
form, .box { padding: 1rem; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--paper); }
form { display: flex; flex-wrap: wrap; gap: .75rem; align-items: center; }
button { padding: .5rem 1.1rem; border: 0; border-radius: .4rem; background: var(--mark);
  color: var(--on-mark); font: inherit; font-weight: 600; cursor: pointer; }
input { font: inherit; max-width: 100%; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--paper); }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .35rem .8rem; border-top: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-size: .85rem; }
th[scope=row] { width: 17rem; font-weight: 600; }
td.why { width: 22rem; color: var(--soft); font: inherit; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-family: monospace; }
summary { cursor: pointer; margin-top: 2rem; font-weight: 600; }
@media (max-width: 60rem) {
  ol.chain { flex-direction: column; }
  ol.chain li { flex: none; flex-direction: column; }
  ol.chain li + li::before { flex: none; width: 1.6rem; margin: .4rem auto 1rem;
    transform: rotate(90deg); }
  ol.chain div { min-height: 0; }
}
@media (max-width: 44rem) {
  thead { display: none; }
  tr { display: block; padding: .4rem 0; border-top: 1px solid var(--line); }
  th, td, th[scope=row], td.why { display: block; width: auto; padding: 0 .8rem; border: 0; }
}
"""


def render(environ: dict[str, Any]) -> str:
    """The page for one request."""
    base = link(environ, "")
    paths = " &middot; ".join(
        f'<a href="{base}/{path}">/{path}</a> {text}'
        for path, text in (
            ("hello", "13 bytes"),
            ("stream", "ten lines, a little apart"),
            ("error", "raises an exception"),
            ("a%20b/%C3%A9?x=1&amp;y", "shows how a path arrives"),
        )
    )
    body = (
        "<h1>How this request came here</h1>"
        '<p class="lead">From the client to the application, in the order it happened.</p>'
        f"{chain(environ)}{changed(environ)}<h2>Send a file</h2>{upload_form(environ)}"
        f'<h2>Other paths</h2><p class="box">{paths}</p>{tables(environ)}{raw(environ)}'
    )
    return document("gatebridge demo", body)


def render_upload(environ: dict[str, Any], name: str, size: int, digest: str) -> str:
    """The answer to an upload."""
    body = (
        "<h1>The file arrived</h1>"
        '<p class="lead">It was read piece by piece and not kept.</p>'
        f'<dl class="box"><dt>Name</dt><dd>{escape(printable(name))}</dd>'
        f"<dt>Size</dt><dd>{size:,} bytes</dd><dt>SHA-256</dt><dd>{digest}</dd></dl>"
        f"<h2>Another one</h2>{upload_form(environ)}<h2>The way it came</h2>{chain(environ)}"
        f'<p><a href="{link(environ, "/")}">Back to the request</a></p>'
    )
    return document("gatebridge demo: upload", body)


def document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def chain(environ: dict[str, Any]) -> str:
    """The picture: one box per program."""
    boxes = "".join(
        f"<li><div><small>{kind}</small><strong>{text(name)}</strong>"
        + "".join(f"<span>{text(detail)}</span>" for detail in details if detail)
        + "</div></li>"
        for kind, name, *details in steps(environ)
    )
    return f'<ol class="chain" aria-label="The way of the request">{boxes}</ol>'


def chain_text(environ: dict[str, Any]) -> str:
    """The same on one line."""
    return " -> ".join(
        f"{name} ({', '.join(detail for detail in details if detail)})"
        for _, name, *details in steps(environ)
    )


def steps(environ: dict[str, Any]) -> list[tuple[str, ...]]:
    """(what it is, its name, details...) for every program on the way."""

    def said(name: str) -> str:
        return str(environ.get(name) or "")

    protocol = said("gatebridge.protocol")
    spoken = _PROTOCOLS.get(protocol, protocol or "in process")
    browser = ("Client", agent(said("HTTP_USER_AGENT")), said("REMOTE_ADDR"))
    software = said("SERVER_SOFTWARE").replace("/", " ", 1) or "unnamed"
    site = f"{said('SERVER_NAME')}:{said('SERVER_PORT')}"
    front = ("Front server", software, f"{said('SERVER_PROTOCOL')} at {site}")
    wire = ("Protocol", spoken, said("gatebridge.bind"))
    thread = threading.current_thread().name
    python = f"{platform.python_implementation()} {platform.python_version()}"
    worker = (
        "Worker",
        f"gatebridge {gatebridge.__version__}",
        f"process {os.getpid()}, {thread}",
        python,
    )
    mount = said("SCRIPT_NAME")
    here = ("Application", "gatebridge.apps.demo:app", f"mounted at {mount or '/'}")
    if protocol == "http":  # nobody is between
        return [browser, wire, worker, here]
    return [browser, front, wire, worker, here]


def agent(header: str) -> str:
    """A client's name, from what its User-Agent says."""
    for mark, name in (
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ):
        if mark in header:
            version = header.partition(mark)[2].partition(" ")[0].partition(".")[0]
            return name if name == "Safari" else f"{name} {version}"
    return header.partition(" ")[0].replace("/", " ", 1)[:40] or "unnamed"


def upload_form(environ: dict[str, Any]) -> str:
    return (
        f'<form method="post" enctype="multipart/form-data" action="{link(environ, "/upload")}">'
        '<label for="file">File</label><input type="file" id="file" name="file" required>'
        "<button>Send</button></form>"
    )


def tables(environ: dict[str, Any]) -> str:
    """The environ, a table for each group that has variables."""
    rows: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in sorted(environ, key=str):
        group, meaning = place(name)
        rows[group].append(
            f'<tr><th scope="row">{text(name)}</th><td>{value(name, environ[name])}</td>'
            f'<td class="why">{escape(meaning)}</td></tr>'
        )
    return "".join(
        f'<h2 id="g{at}">{group}</h2><div class="wide"><table aria-labelledby="g{at}"><thead><tr>'
        '<th scope="col">Variable</th><th scope="col">Value</th><th scope="col">Meaning</th>'
        f"</tr></thead><tbody>{''.join(rows[group])}</tbody></table></div>"
        for at, group in enumerate(GROUPS)
        if rows[group]
    )


def changed(environ: dict[str, Any]) -> str:
    """What is not as the front server sent it, each with the rule that changed it."""
    told = explain(environ)
    if told is None:  # a CGI script, or in process: there was no listener
        return ""
    heading = '<h2 id="changed">What changed on the way</h2>'
    if not told["changes"]:
        return f'{heading}<p class="box">Nothing: the application got what was sent.</p>'
    rows = "".join(
        f'<tr><th scope="row">{text(one["name"])}</th>'
        f"<td>{_side(one['name'], one['before'])}</td><td>{_side(one['name'], one['after'])}</td>"
        f'<td class="why"><code>{text(one["row"])}</code> {text(one["reason"])} '
        f"<em>{text(one['source'])}</em></td></tr>"
        for one in told["changes"]
    )
    front = text(told["front"]["name"])
    return (
        f'{heading}<p class="lead">By the rules for {front}; gatebridge explain tells it of any '
        'request.</p><div class="wide"><table aria-labelledby="changed"><thead><tr>'
        '<th scope="col">Variable</th><th scope="col">Sent</th><th scope="col">Given</th>'
        f'<th scope="col">Rule, why, and where it was seen</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _side(name: str, given: str | None) -> str:
    return "<em>absent</em>" if given is None else value(name, given)


def raw(environ: dict[str, Any]) -> str:
    """What the front server sent, before anything was made right."""
    pairs = environ.get("gatebridge.params")
    if pairs is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{value(name, given)}</td></tr>'
        for name, given in pairs
    )
    return (
        f"<details><summary>The {len(pairs)} variables as they were sent, in their order</summary>"
        '<div class="wide"><table><thead><tr><th scope="col">Variable</th>'
        f'<th scope="col">Value</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def value(name: str, given: object) -> str:
    """One value as HTML; of what is no text its type."""
    if name == "gatebridge.params":
        return "listed at the end of the page"
    if name in SECRET:
        return f"({len(str(given))} characters, not shown)"
    if isinstance(given, str):
        return text(given) if given else "<em>empty</em>"
    if isinstance(given, (bool, int, float, tuple)):
        return escape(repr(given))
    kind = type(given)
    return f"<em>{escape(kind.__module__)}.{escape(kind.__qualname__)}</em>"


def text(given: str) -> str:
    return escape(readable(given))


def readable(given: str) -> str:
    """A WSGI string for a reader: as UTF-8 where its bytes are."""
    try:
        return printable(given.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return printable(given)


def printable(given: str) -> str:
    """Text with an escape for what cannot be seen, or would turn the rest of the line around."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in given
    )


def link(environ: dict[str, Any], path: str) -> str:
    """A path of this application, as an attribute's value."""
    mount = str(environ.get("SCRIPT_NAME", "")).strip("/")  # "//host" would leave the site
    base = "/" + quote(mount.encode("latin-1")) if mount else ""
    return escape(base + path)
