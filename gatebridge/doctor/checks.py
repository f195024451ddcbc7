"""Every check. Those of one link are named in this order, so causes stand before consequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.doctor.socket_checks import CHECKS as OF_SOCKETS

if TYPE_CHECKING:
    from gatebridge.doctor.check import Check

CHECKS: tuple[Check, ...] = (*OF_SOCKETS,)
