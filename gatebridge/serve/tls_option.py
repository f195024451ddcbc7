"""The tls= of a bind, without OpenSSL: it is large, and seldom needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.serve.tls import Tls

ADHOC: Final = "adhoc"  # a certificate that is made when the listener opens
_CARRY: Final = (
    "http",
    "uwsgi",
)  # what clients of ours speak through TLS: browsers, nginx's suwsgi://


def check_tls(bind: Bind) -> None:
    """raises ConfigError("bind.tls")"""
    if "tls" in bind.options and (bind.protocol not in _CARRY or not bind.options["tls"]):
        why = "TLS is for HTTP and the uwsgi protocol; write ?tls=adhoc or ?tls=CERT,KEY"
        raise ConfigError("bind.tls", f"{bind.text}: {why}")


def open_tls(bind: Bind) -> Tls | None:
    """None where it does not ask for TLS. raises ConfigError("bind.tls"), ConfigError("tls.…")"""
    check_tls(bind)
    if "tls" not in bind.options:
        return None
    from gatebridge.serve.tls import Tls, open_context

    return Tls(open_context(bind.options["tls"], bind.host))
