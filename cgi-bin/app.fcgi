#!/usr/bin/env python3
# For Apache's mod_fcgid, lighttpd's bin-path and spawn-fcgi; as plain CGI it works too.
import sys

sys.path.insert(0, sys.path[0] + "/..")  # this checkout; an installed gatebridge needs no path
from gatebridge.apps.demo import app
from gatebridge.dispatch import run

run(app)
