"""HAProxy with mpxs-conns, the one real front server that multiplexes FastCGI."""

import json
import threading

from tests.fronts.haproxy import SITES
from tests.suite.stage import FrontMode, Stage
from tests.suite.wires import Req, Resp

MPXS = next(site for site in SITES if site.name == "haproxy-fastcgi-mpxs")
TOGETHER = 12


def at_once(mode: FrontMode, requests: list[Req]) -> list[Resp]:
    """Send them all at the same time, a thread each; the answers in the requests' order."""
    answers: list[Resp | BaseException] = [AssertionError("no answer")] * len(requests)
    gate = threading.Barrier(len(requests))

    def one(index: int) -> None:
        try:
            gate.wait(20)
            answers[index] = mode.send(requests[index])
        except BaseException as error:
            answers[index] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    if failed:
        raise failed[0]
    return [answer for answer in answers if isinstance(answer, Resp)]


def refused_by_itself(resp: Resp) -> bool:
    """HAProxy 2.6 answers 500 (IH-- in its log) when the PARAMS of one more stream find no room
    in the buffer of the shared connection; nothing of such a request reaches the application.
    """
    return resp.status == 500 and b"incident" not in resp.body and b"<h1>500" in resp.body


def sent(mode: FrontMode, requests: list[Req]) -> list[Resp]:
    """All at once; those that HAProxy itself refused again, one by one."""
    return [
        mode.send(request) if refused_by_itself(resp) else resp
        for request, resp in zip(requests, at_once(mode, requests), strict=True)
    ]


def test_F083_many_requests_inside_on_fewer_connections(stage: Stage) -> None:
    """All are inside the application at once, on fewer connections than requests."""
    mode = stage.front(MPXS)
    socket = stage.path("mpxs", "fcgi")
    mode.send(Req())  # HAProxy asks FCGI_GET_VALUES on its first connection
    requests = [
        Req(
            "POST",
            "/",
            (
                ("Suite-App", "rendezvous"),
                ("Suite-Arg", f"many {TOGETHER}"),
                ("Suite-Gate", socket),
                ("Content-Type", "application/octet-stream"),
            ),
            f"body of request {number}".encode(),
        )
        for number in range(TOGETHER)
    ]
    answers = [json.loads(resp.body) for resp in at_once(mode, requests)]
    assert [a["body"] for a in answers] == [f"body of request {n}" for n in range(TOGETHER)]
    assert all(a["together"] for a in answers), "they were not served at the same time"
    most = max(a["connections"] for a in answers)
    assert 1 <= most < TOGETHER, f"{most} connections for {TOGETHER} requests: not multiplexed"


def test_F085_bodies_are_never_mixed(stage: Stage) -> None:
    """Bodies of many records each way, every byte telling whose it is."""
    mode = stage.front(MPXS)
    bodies = [bytes([n + 1]) * (40_000 + 7_919 * n) for n in range(16)]
    headers = (("Suite-App", "mirror"), ("Content-Type", "application/octet-stream"))
    for _ in range(3):
        answers = sent(mode, [Req("POST", "/", headers, body) for body in bodies])
        for body, resp in zip(bodies, answers, strict=True):
            assert resp.status == 200, resp
            assert resp.body == body, f"wanted {len(body)} of {body[:1]!r}, got {resp!r}"


def test_F085_errors_of_one_request_leave_the_others_alone(stage: Stage) -> None:
    """Requests that fail before they answer, and a megabyte of error text, beside fine ones."""
    mode = stage.front(MPXS)
    apps = ["hello", "raise_at_once", "hello", "stream_10m", "errors_1m"] * 3
    answers = sent(mode, [Req(headers=(("Suite-App", app),)) for app in apps])
    for app, resp in zip(apps, answers, strict=True):
        assert not resp.cut, f"{app}: {resp!r}"
        assert resp.status == (500 if app == "raise_at_once" else 200), f"{app}: {resp!r}"
        assert app != "stream_10m" or len(resp.body) == 10_485_760


def test_F085_a_failure_half_way_is_seen_and_harms_no_other(stage: Stage) -> None:
    """All are under way on shared connections when one of them fails."""
    mode = stage.front(MPXS)
    mode.send(Req())
    apps = ["meet_and_stream"] * 5 + ["meet_and_fail"]
    headers = ("Suite-Arg", f"failing {len(apps)}")
    answers = at_once(mode, [Req(headers=(("Suite-App", app), headers)) for app in apps])
    for resp in answers[:-1]:
        assert (resp.status, len(resp.body), resp.cut) == (200, 48 * 65_536, False), resp
    assert answers[-1].cut, f"the client cannot see the failure: {answers[-1]!r}"
