#!/usr/bin/env python3
# Drop into a cgi-bin, make executable, and put your application's module and name below.
# For a fixed interpreter and a quicker start: gatebridge shim new myapp:app FILE --oneshot
import sys

sys.path.insert(0, sys.path[0] + "/..")  # this checkout; an installed gatebridge needs no path
from gatebridge.apps.demo import app
from gatebridge.oneshot import main

main(app)
