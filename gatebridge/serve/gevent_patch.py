"""--worker-class gevent: the library is patched before the application is imported."""

from __future__ import annotations

import sys
from importlib import import_module

from gatebridge.errors import ConfigError


def patch() -> None:
    """gevent's monkey.patch_all(), in a worker or a stem; the supervisor is never patched.

    raises  ConfigError("worker.gevent")
    """
    if sys.platform != "linux":
        raise ConfigError("worker.gevent", "worker class gevent needs epoll, which Linux has")
    try:
        monkey = import_module("gevent.monkey")
    except ImportError as error:
        hint = "pip install 'gatebridge[gevent]'"
        raise ConfigError("worker.gevent", f"gevent cannot be imported ({error}): {hint}") from None
    monkey.patch_all()
