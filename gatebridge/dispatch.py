"""For a .fcgi script: answer whatever started it, FastCGI on descriptor 0 or one CGI request.

Apache's mod_fcgid, lighttpd's bin-path and spawn-fcgi hand a listening socket over as
descriptor 0 (FastCGI 1.0 section 2.2); a web server that runs CGI gives a pipe there.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application


def is_listener(fd: int) -> bool:
    """Tell whether fd is a listening socket: getpeername() says ENOTCONN (section 2.2)."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:  # closed, or no socket
        return False
    try:
        sock.getpeername()
    except OSError as error:
        return error.errno == errno.ENOTCONN
    finally:
        sock.close()
    return False


def cgi_is_forced() -> bool:
    """FCGI_FORCE_CGI begins with Y or y."""
    return os.environ.get("FCGI_FORCE_CGI", "N").upper().startswith("Y")


def run(app: Application, mount: str | None = None, threads: int = 8) -> None:
    """Serve ``app`` to this process's starter, then exit.

    FCGI_FORCE_CGI=Y in the environment asks for CGI, as with flup.
    """
    if cgi_is_forced() or not is_listener(0):
        from gatebridge.oneshot import main

        main(app, mount)
        return
    from gatebridge.assemble import serve_alone
    from gatebridge.settings import Settings

    sys.exit(serve_alone(app, Settings(bind=("fd://0",), threads=threads, mount=mount)))
