"""Every check. Those of one link are named in this order, so causes stand before consequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.doctor.application_checks import CHECKS as OF_APPLICATIONS
from gatebridge.doctor.browser_checks import CHECKS as OF_BROWSERS
from gatebridge.doctor.front_checks import CHECKS as OF_FRONTS
from gatebridge.doctor.log_checks import CHECKS as OF_LOGS
from gatebridge.doctor.script_checks import CHECKS as OF_SCRIPTS
from gatebridge.doctor.socket_checks import CHECKS as OF_SOCKETS
from gatebridge.doctor.system_checks import CHECKS as OF_SYSTEMS
from gatebridge.doctor.upstream_checks import CHECKS as OF_UPSTREAMS
from gatebridge.doctor.worker_checks import CHECKS as OF_WORKERS

if TYPE_CHECKING:
    from gatebridge.doctor.check import Check

CHECKS: tuple[Check, ...] = (
    *OF_BROWSERS,
    *OF_FRONTS,
    *OF_LOGS,
    *OF_SOCKETS,
    *OF_SYSTEMS,
    *OF_WORKERS,
    *OF_APPLICATIONS,
    *OF_UPSTREAMS,
    *OF_SCRIPTS,
)
