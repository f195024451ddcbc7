"""Errors by whose fault they are, each with a stable code.

Tests, logs and the status table use ``code``; the wording of ``detail`` may change at any time.
"""


class GatebridgeError(Exception):
    """Anything gatebridge raises on purpose.

    code    dotted, stable: ``params.too_big``
    detail  one line for a person: what was seen, and where it helps the next step
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class PeerError(GatebridgeError):
    """The front server or the client sent something that cannot be served (a 4xx)."""


class AppError(GatebridgeError):
    """The application or script broke its side of the contract (a 500 or 502)."""


class ConfigError(GatebridgeError):
    """The operator asked for something that cannot be had (exit code 2 or 5)."""


class UseError(GatebridgeError):
    """Code that calls gatebridge used it wrongly."""
