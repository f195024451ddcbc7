"""What a browser asks for with --url, against what the daemon behind the front server gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.passing import readable
from gatebridge.doctor.url_probe import BODY, CREDENTIALS, TWICE
from gatebridge.errors import GatebridgeError
from gatebridge.serve.probe_answer import COOKIE_BYTES

if TYPE_CHECKING:
    from gatebridge.doctor.facts import Facts
    from gatebridge.doctor.url_probe import Came

_COOKIE: Final = "gatebridge_doctor=" + "c" * 6000
_PASSES: Final = {
    "apache": "CGIPassAuth On in the <Location> or <Directory>",
    "haproxy": "pass-header Authorization in the fcgi-app",
}
_FLUSHES: Final = {
    "nginx": "fastcgi_buffering off; (or scgi_, uwsgi_, proxy_) in the location, or the header "
    "X-Accel-Buffering: no from the application",
    "apache": "flushpackets=on at the ProxyPass or with ProxySet",
    "lighttpd": "server.stream-response-body = 1",
    "caddy": "flush_interval -1 in the reverse_proxy",
}
_GATEWAY: Final = (502, 503, 504)

check = Checks("browser")


def _plain(facts: Facts) -> Came | None:
    """What came of the first request, where one did."""
    came = facts.came
    return came if came is not None and came.report else None


@check("browser.no_answer", "Does the URL answer?")
def no_answer(facts: Facts) -> Finding | None:
    came = facts.came
    if came is None or came.status:
        return None
    mend = "start the front server, and see that it listens at this address and speaks this scheme"
    return Finding(f"{facts.meant.url} gives no answer", came.error, mend)


@check("browser.certificate", "Would a browser take the certificate?")
def certificate(facts: Facts) -> Finding | None:
    why = facts.url.distrust() if facts.url is not None else ""
    if not why:
        return None
    mend = "a certificate of a known authority, with its chain; or this name in it"
    return Finding(f"browsers refuse the certificate of {facts.meant.url}", why, mend, WARNING)


@check("browser.not_reached", "Do requests for the URL come to this daemon?")
def not_reached(facts: Facts) -> Finding | None:
    came = facts.came
    if came is None or not came.status or came.report:
        return None
    by = f" by {came.server}" if came.server else ""
    mend = "look which server block, virtual host or location takes this path, and where it leads"
    if came.status in _GATEWAY:
        mend = "compare the socket that the front server asks with the daemon's bind"
    return Finding(
        f"requests for {facts.meant.url} do not come to this daemon",
        f"{readable(came.target)} was answered with {came.status}{by}",
        f"{mend}; --front-config FILE lets doctor look",
    )


@check("browser.path", "Does a percent-encoded path reach the application whole?")
def path(facts: Facts) -> Finding | None:
    came = _plain(facts)
    if came is None or came.report.get("refused"):
        return None
    got = came.environ.get("SCRIPT_NAME", ""), came.environ.get("PATH_INFO", "")
    if "".join(got) == came.target:
        return None
    sent = {name: came.received.get(name) for name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")}
    return Finding(
        "the application gets another path than the browser asked for",
        f"asked for {readable(came.target)}; SCRIPT_NAME {readable(got[0])}, PATH_INFO "
        f"{readable(got[1])}; sent: {sent}",
        "--mount PATH at the daemon, as the front server has it; gatebridge explain --url says why",
    )


@check("browser.split", "Does SCRIPT_NAME end where the application begins?")
def split(facts: Facts) -> Finding | None:
    came = _plain(facts)
    if came is None or came.report.get("refused"):
        return None
    script, info = came.environ.get("SCRIPT_NAME", ""), came.environ.get("PATH_INFO", "")
    if script + info != came.target or f"{came.base}/".startswith(f"{script.rstrip('/')}/"):
        return None  # browser.path says the first
    sent = {name: came.received.get(name) for name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")}
    return Finding(
        "a part of the path is taken for the application's own name, so its routes miss it and its "
        "links have it twice",
        f"asked for {readable(came.target)}; SCRIPT_NAME {readable(script)}, PATH_INFO "
        f"{readable(info)}; sent: {sent}",
        f"--mount {came.base or '/'} at the daemon, if the application begins there",
    )


@check("browser.scheme", "Does the application know whether it is asked by https?")
def scheme(facts: Facts) -> Finding | None:
    came, url = _plain(facts), facts.url
    if came is None or url is None:
        return None
    got = str(came.environ.get("wsgi.url_scheme") or "")
    if not got or got == url.scheme:
        return None
    return Finding(
        f"the application believes that it is asked by {got}, and it is {url.scheme}: links, "
        "redirects and secure cookies go wrong",
        f"HTTPS {came.received.get('HTTPS')!r}, REQUEST_SCHEME "
        f"{came.received.get('REQUEST_SCHEME')!r}, X-Forwarded-Proto "
        f"{came.received.get('HTTP_X_FORWARDED_PROTO')!r}",
        "the front server must send HTTPS=on, or X-Forwarded-Proto and --forwarded-allow-ips at "
        "the daemon; gatebridge conf writes the line",
    )


@check("browser.authorization", "Does an Authorization header reach the application?")
def authorization(facts: Facts) -> Finding | None:
    came = _plain(facts)
    if came is None or came.environ.get("HTTP_AUTHORIZATION") == CREDENTIALS:
        return None
    front = str((came.report.get("front") or {}).get("name"))
    return Finding(
        "the Authorization header is lost on the way",
        f"a request with Authorization came without; the front server is {front}",
        _PASSES.get(front, "the front server must pass this header"),
        WARNING,
    )


@check("browser.proxy", "Does the front server drop a Proxy header?")
def proxy(facts: Facts) -> Finding | None:
    came = _plain(facts)
    if came is None or "HTTP_PROXY" not in came.received:
        return None
    return Finding(
        "a client's Proxy header is handed on as HTTP_PROXY, which HTTP clients obey; gatebridge "
        "drops it, and other programs behind this server may not",
        f"HTTP_PROXY is {came.received['HTTP_PROXY']!r} (CVE-2016-5385)",
        "remove it in the front server; gatebridge conf writes the line",
        WARNING,
    )


@check("browser.repeated", "Do headers that come twice reach the application both?")
def repeated(facts: Facts) -> Finding | None:
    came = _plain(facts)
    if came is None:
        return None
    got = came.environ.get("HTTP_X_GATEBRIDGE_DOCTOR", "")
    if [part.strip() for part in got.split(",")] == ["one", "two"]:
        return None
    return Finding(
        "of a header that comes twice, the application does not get both values",
        f"{TWICE}: one, and again: two; HTTP_X_GATEBRIDGE_DOCTOR is {got!r}",
        "nothing in gatebridge brings it back: let what sends it join the values by a comma",
        WARNING,
    )


@check("browser.cookie", "Does a long cookie reach the application?")
def cookie(facts: Facts) -> Finding | None:
    if _plain(facts) is None or facts.url is None:
        return None
    came = facts.url.ask(("Cookie", _COOKIE))
    if came.environ.get("HTTP_COOKIE") == _COOKIE:
        return None
    return Finding(
        f"a cookie of {len(_COOKIE)} bytes does not reach the application",
        f"answered with {came.status}" if came.status else came.error,
        "nginx: large_client_header_buffers 4 16k; Apache: LimitRequestFieldSize 16380; "
        "HAProxy: tune.bufsize 32768",
        WARNING,
    )


@check("browser.chunked", "Does an upload without a length reach the application?")
def chunked(facts: Facts) -> Finding | None:
    if _plain(facts) is None or facts.url is None:
        return None
    came = facts.url.ask(chunked=True)
    length = came.environ.get("CONTENT_LENGTH")
    body = came.report.get("body") or {}
    whole = length == str(len(BODY)) or body.get("length") is None or body.get("doubtful")
    if came.report and whole and came.uploaded in (None, len(BODY)):
        return None
    seen = came.error or f"answered with {came.status}"
    if came.report:
        seen = f"CONTENT_LENGTH {length!r} instead of {len(BODY)}"
    if came.uploaded is not None:
        seen += f"; {came.uploaded} bytes came"
    return Finding(
        "uploads in chunks (Transfer-Encoding: chunked) do not reach the application",
        seen,
        "let the front server collect request bodies (its default almost everywhere), or reach "
        "the daemon by FastCGI",
        WARNING,
    )


@check("browser.answer_head", "Does a long Set-Cookie reach a browser?")
def answer_head(facts: Facts) -> Finding | None:
    if _plain(facts) is None or facts.url is None:
        return None
    came = facts.url.ask(answer="cookie")
    if not came.report or came.cookie >= COOKIE_BYTES or (came.status == 200 and not came.probe):
        return None
    return Finding(
        f"an answer that sets a cookie of {COOKIE_BYTES} bytes, as long as browsers keep, does not "
        "reach them",
        f"answered with {came.status}" if came.status else came.error,
        "nginx: fastcgi_buffer_size 16k; fastcgi_buffers 8 16k; (or scgi_, uwsgi_, proxy_); "
        "Apache: ProxySet responsefieldsize=16384; HAProxy: tune.bufsize 32768",
        WARNING,
    )


@check("browser.stream", "Do pieces of an answer reach a browser as they are sent?")
def stream(facts: Facts) -> Finding | None:
    if _plain(facts) is None or facts.url is None or not facts.streams:
        return None
    came = facts.url.ask(answer="stream")
    if came.probe != "stream":
        why = came.error or f"it was answered with {came.status}, and not by the daemon itself"
        raise GatebridgeError("doctor.daemon", f"a stream was asked for: {why}")
    if not came.is_late:
        return None
    front = str((came.report.get("front") or {}).get("name"))
    return Finding(
        "answers are collected on the way: what is sent piece by piece arrives at the end",
        f"the first of two pieces came when both were sent; {facts.streams}",
        _FLUSHES.get(front, "let the front server hand on each piece of an answer as it comes"),
        WARNING,
    )


CHECKS: Final = tuple(check)
