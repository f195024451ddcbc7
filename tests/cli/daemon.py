"""A daemon that is only its control socket, with a status of two pools, for the commands."""

import copy
from pathlib import Path
from typing import Any

from tests.control_stand import Answering

STATUS: dict[str, Any] = {
    "ok": True,
    "pid": 4711,
    "name": "shop",
    "version": "0.1.0",
    "build": "pure Python",
    "uptime_s": 11_530.0,
    "generation": 3,
    "reload": {"state": "ok", "error": "", "traceback": "", "at": 0.0},
    "pools": {
        "main": {
            "pm": "static",
            "workers": {"starting": 0, "ready": 2, "draining": 1},
            "threads": 24,
            "busy": 2,
            "waiting": 0,
            "binds": [{"text": "unix:/run/shop.sock", "backlog": 4096, "queued": 5}],
            "requests": 1234,
            "failed": 6,
            "slow": 1,
            "lost_lines": 0,
            "rss": 3 << 20,
            "forks": 9,
            "crash_loop": False,
            "reason": "",
            "workers_list": [
                {
                    "index": 0,
                    "pid": 4712,
                    "state": "ready",
                    "generation": 3,
                    "age_s": 75.0,
                    "requests": 600,
                    "failed": 0,
                    "slow": 1,
                    "rss": 40 << 20,
                    "threads": 8,
                    "busy": 2,
                    "waiting": 0,
                    "running": [
                        {"age_s": 12.3, "line": "GET /report", "thread": 0, "id": "8f3c"},
                        {"age_s": 0.1, "line": "POST /order", "thread": 1, "id": ""},
                    ],
                }
            ],
        },
        "api": {
            "pm": "ondemand",
            "workers": {},
            "binds": [{"text": "fd://3", "backlog": None, "queued": None}],
            "crash_loop": True,
            "reason": "ImportError: no module named api",
            "workers_list": [],
        },
    },
}

PING = {"ok": True, "pid": 4711, "name": "shop", "ready": 2, "workers": 3, "generation": 3}


def status(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(STATUS), **changed}


def daemon(folder: Path, **handlers: Any) -> Answering:
    return Answering(folder / "s.ctl", **{"status": status(), "ping": PING, **handlers})
