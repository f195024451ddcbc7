"""flup.server: fcgi, fcgi_fork, fcgi_single, scgi, scgi_fork, cgi."""

from gatebridge.compat.gateway import NoDefault

__all__ = ["NoDefault"]
