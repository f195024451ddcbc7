#!/usr/bin/env python3
# Hands each request to a daemon of the demo, which the first one starts; put your application's
# module and name below. One file without imports, at a tenth of the cost: gatebridge shim new
import sys

sys.path.insert(0, sys.path[0] + "/..")  # this checkout; an installed gatebridge needs no path
from gatebridge.relay_text import bake, relay_text

baked = bake("gatebridge.apps.demo:app", folder=sys.path[0], mount=None)
exec(relay_text(baked, "the demo"), {"__name__": "relay"})
