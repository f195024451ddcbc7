"""A real flup server process with the suite's applications: the peer of the differential test.

    python -m tests.suite.flup_server fcgi|scgi ADDRESS MODULE:NAME [PACKAGE]

PACKAGE is flup, or gatebridge.compat.flup: the same arguments on our engine.

ADDRESS is a path, or host:port. Says "listening" on stderr when it is about to serve.
"""

import importlib
import sys
from typing import Any


def main(protocol: str, address: str, target: str, package: str = "flup") -> None:
    server: Any = importlib.import_module(f"{package}.server.{protocol}")
    module, _, name = target.partition(":")
    app = getattr(importlib.import_module(module), name)
    host, colon, port = address.rpartition(":")
    bind = (host, int(port)) if colon else address
    sys.stderr.write("listening\n")
    sys.stderr.flush()
    server.WSGIServer(app, bindAddress=bind, umask=0o077, debug=False).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
