"""The daemon and its workers: does it come up, is it well, is it the one that is installed?"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any, Final

from gatebridge import __version__
from gatebridge.config.outside import odd_variables
from gatebridge.config.system import System, plan_of
from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.sessions import find_sessions
from gatebridge.settings import worker_count

if TYPE_CHECKING:
    from gatebridge.doctor.facts import Facts
    from gatebridge.settings import Pool

_NO_DAEMON: Final = ("socket.missing", "socket.stale", "socket.refused", "worker.not_running")
_STUCK_S: Final = 10.0  # a request that takes so long, while no thread is free
_SPARE_FILES: Final = 64  # of a worker, besides its connections
_FEW_FILES: Final = 256

_GONE: Final = ("connect.no_daemon", "connect.no_socket", "connect.refused")

check = Checks("worker")


@check("worker.configuration", "Can the configuration be read?", _NO_DAEMON)
def configuration(facts: Facts) -> Finding | None:
    problems = facts.meant.problems
    if not problems:
        return None
    return Finding("the configuration is not accepted", "\n".join(problems), "mend these lines")


@check("worker.start", "Would a daemon come up, as the system is?", _NO_DAEMON)
def start(facts: Facts) -> Finding | None:
    made = facts.meant.configuration
    if made is None or facts.status is not None:
        return None
    system = System(made)
    system.look()
    if not system.problems:
        return None
    problems = "\n".join(map(str, system.problems))
    mend = "mend that; gatebridge check, with the same words, says when it is"
    return Finding("no daemon can come up with this configuration", problems, mend)


@check("worker.not_running", "Is a daemon running?")
def not_running(facts: Facts) -> Finding | None:
    """Asked where no bind tells it; systemd starts the one of a systemd: bind."""
    silence = facts.silence
    if silence is None or facts.bind_texts or silence.code not in _GONE:
        return None
    return Finding("no daemon is running", facts.silence_text, facts.meant.command)


@check("worker.control", "Does the daemon's own process answer?")
def control(facts: Facts) -> Finding | None:
    silence = facts.silence
    if silence is None or silence.code not in ("connect.silent", "connect.busy", "connect.cut"):
        return None
    mend = "look at its error log; kill -TERM ends it, then start it anew"
    return Finding("the daemon is there and does not answer", str(silence), mend)


@check("worker.crash_loop", "Do workers stay alive?", ("socket.queue", "browser.not_reached"))
def crash_loop(facts: Facts) -> Finding | None:
    for pool in facts.status_pools:
        if pool.get("crash_loop"):
            return Finding(
                f"the workers of pool {pool['name']} end as soon as they are started",
                str(pool.get("reason") or "no reason is known"),
                "mend what it names, then gatebridge ctl reload; the error log has the traceback",
            )
    return None


@check("worker.not_ready", "Is a worker ready?", ("socket.queue", "browser.not_reached"))
def not_ready(facts: Facts) -> Finding | None:
    for pool in facts.status_pools:
        counts = pool.get("workers") or {}
        if pool.get("pm") == "ondemand" or pool.get("crash_loop") or counts.get("ready"):
            continue
        drained = pool.get("reason") == "drained"
        return Finding(
            f"no worker of pool {pool['name']} is ready",
            str(pool.get("reason") or f"{counts.get('starting', 0)} are starting"),
            "gatebridge ctl reload brings them back"
            if drained
            else "gatebridge ctl stacks shows where they are; the error log says more",
        )
    return None


@check(
    "worker.stuck", "Has a worker a thread that is free?", ("socket.queue", "browser.not_reached")
)
def stuck(facts: Facts) -> Finding | None:
    for pool in facts.status_pools:
        workers = [one for one in pool.get("workers_list") or [] if one.get("state") == "ready"]
        if not workers or any(one["busy"] < one["threads"] for one in workers):
            continue
        running = [request for one in workers for request in one["running"]]
        oldest = sorted(running, key=_age, reverse=True)[:3]
        if not oldest or _age(oldest[0]) < _STUCK_S:
            continue
        seen = [f"{_age(request):.0f} s: {request['line']}" for request in oldest]
        return Finding(
            f"every thread of pool {pool['name']} is busy, so new requests wait",
            "\n".join(seen),
            "gatebridge ctl stacks shows what they wait for; --timeout ends such requests",
        )
    return None


def _age(request: dict[str, Any]) -> float:
    return float(request["age_s"])


@check("worker.reload", "Did the last reload succeed?")
def reload(facts: Facts) -> Finding | None:
    last = (facts.status or {}).get("reload") or {}
    if last.get("state") != "failed":
        return None
    return Finding(
        "the last reload failed, so the old code and the old options still serve",
        str(last.get("traceback") or last.get("error")),
        "mend it, then gatebridge ctl reload",
        WARNING,
    )


@check("worker.version", "Is the daemon of the version that is installed?")
def version(facts: Facts) -> Finding | None:
    status = facts.status
    if status is None or status.get("version") in (None, __version__):
        return None
    return Finding(
        f"the daemon is gatebridge {status['version']}, and {__version__} is installed",
        f"process {status.get('pid')}, started {float(status.get('uptime_s') or 0):.0f} s ago",
        "restart it: kill -USR2 keeps its sockets open meanwhile",
        WARNING,
    )


@check("worker.sessions", "Are sessions kept in the memory of one of several workers?")
def sessions(facts: Facts) -> Finding | None:
    for pool in facts.pools:
        if worker_count(pool.settings.workers) < 2:
            continue
        for app in pool.apps:
            for target in filter(None, (app.target, app.new)):
                found = find_sessions(target, facts.folders(pool))
                if found:
                    return Finding(
                        f"{target} keeps sessions in memory, and pool {pool.name} has "
                        f"{worker_count(pool.settings.workers)} workers: users are logged out "
                        "whenever another one answers",
                        found,
                        "keep sessions in a database, in files or in signed cookies, or take "
                        "workers = 1 and more threads",
                        WARNING,
                    )
    return None


@check("worker.files", "May a worker open as many files as it may have connections?")
def files(facts: Facts) -> Finding | None:
    for pool in facts.pools:
        wanted = _FEW_FILES
        if facts.is_said(pool, "limit_connections"):
            wanted = max(wanted, pool.settings.limit_connections + _SPARE_FILES)
        most = _file_limit(facts, pool)
        if most < wanted:
            return Finding(
                f"a worker of pool {pool.name} may open {most} files, and may need {wanted}",
                f"limit_connections {pool.settings.limit_connections}, open files {most}",
                f"LimitNOFILE={wanted} in the unit, or --rlimit nofile={wanted}",
                WARNING,
            )
    return None


def _file_limit(facts: Facts, pool: Pool) -> int:
    """Of a running worker; else of one that this user would start."""
    for one in facts.status_pools:
        for worker in one.get("workers_list") or []:
            found = _running_limit(facts, int(worker["pid"])) if one["name"] == pool.name else 0
            if found:
                return found
    for limit in plan_of(pool.settings).limits:
        if limit.number == resource.RLIMIT_NOFILE:
            return _finite(limit.soft)
    return _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _running_limit(facts: Facts, pid: int) -> int:
    for line in facts.machine.read(f"/proc/{pid}/limits").splitlines():
        words = line.split()
        if line.startswith("Max open files") and len(words) > 3 and words[3].isdecimal():
            return int(words[3])
    return 0


def _finite(number: int) -> int:
    return 1 << 30 if number == resource.RLIM_INFINITY else number


@check("worker.environment", "Does the environment say what nobody reads?")
def environment(facts: Facts) -> Finding | None:
    said = odd_variables(facts.meant.environ)
    if facts.meant.environ.get("GUNICORN_CMD_ARGS"):
        said = [*said, "GUNICORN_CMD_ARGS is gunicorn's; write GATEBRIDGE_CMD_ARGS"]
    if not said:
        return None
    mend = "rename or unset it"
    return Finding("a variable of the environment has no effect", "\n".join(said), mend, WARNING)


CHECKS: Final = tuple(check)
