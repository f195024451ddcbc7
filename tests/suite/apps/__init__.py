"""The suite's WSGI applications, behind one entry that picks by the request header Suite-App.

The path stays free for the rows that test it. A name ending in "!" is the same application inside
wsgiref.validate.validator; LEGAL holds those that keep every rule of PEP 3333.
"""

from collections.abc import Iterable

from tests.suite.apps import answers, bodies, failures, registry, streams  # noqa: F401 - they register
from tests.suite.apps.registry import APPS, LEGAL, Environ, Start

authorizer = answers.authorizer


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The one entry: what Suite-App names, else ``hello``."""
    return APPS[environ.get("HTTP_SUITE_APP", "hello")](environ, start_response)


def differential(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The same, but a request that names none gets everything told back, body included."""
    return APPS[environ.get("HTTP_SUITE_APP", "everything")](environ, start_response)


__all__ = ["APPS", "LEGAL", "application", "authorizer", "registry"]
