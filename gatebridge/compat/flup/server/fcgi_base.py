"""flup.server.fcgi_base: the numbers of the protocol that scripts give as roles."""

from gatebridge.compat.gateway import FastCGIGateway as BaseFCGIServer
from gatebridge.wire.events import AUTHORIZER as FCGI_AUTHORIZER
from gatebridge.wire.events import FILTER as FCGI_FILTER
from gatebridge.wire.events import RESPONDER as FCGI_RESPONDER

__all__ = ["FCGI_AUTHORIZER", "FCGI_FILTER", "FCGI_RESPONDER", "BaseFCGIServer"]
