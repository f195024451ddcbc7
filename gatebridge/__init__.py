"""gatebridge: CGI, FastCGI, SCGI and the uwsgi protocol into WSGI and ASGI calls."""

__version__ = "0.1.0"
