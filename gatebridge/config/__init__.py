"""gatebridge.toml, the environment and flags into one Configuration, with every error at once."""

from gatebridge.config.outside import CMD_ARGS, flag, variable
from gatebridge.config.resolve import MAIN, Asked, examine, resolve

__all__ = ["CMD_ARGS", "MAIN", "Asked", "examine", "flag", "resolve", "variable"]
