"""A program that calls run_simple() of Werkzeug or of gatebridge: ENGINE ARGUMENTS-AS-JSON.

@NAME is what this file makes of it: a certificate's context, a package's folder.
"""

import json
import os
import signal
import ssl
import sys
import time
import warnings
from pathlib import Path

try:
    import shop  # a module of the program's, where there is one
except ImportError:
    shop = None
HERE = Path(__file__).resolve().parent
DEADLINE_S = 20.0


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise RuntimeError("the application's own fault")
    if path == "/hold":  # until another request is answered meanwhile
        (HERE / "holding").touch()
        deadline = time.monotonic() + DEADLINE_S
        while not (HERE / "released").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    if path == "/release":
        (HERE / "released").touch()
    start_response("200 OK", [("Content-Type", "application/json")])
    kinds = (str, bool)
    seen = {name: value for name, value in environ.items() if isinstance(value, kinds)}
    seen["pid"] = os.getpid()
    seen["held"] = (HERE / "released").exists()
    seen["version"] = getattr(shop, "version", "1")
    return [json.dumps(seen).encode()]


def special(value):
    if value == "@context":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(HERE / "cert.pem", HERE / "key.pem")
        return context
    if value == "@files":
        return str(HERE / "cert.pem"), str(HERE / "key.pem")
    if value == "@handler":
        from werkzeug.serving import WSGIRequestHandler

        return WSGIRequestHandler
    if isinstance(value, dict):
        return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return value


def signals():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.set_wakeup_fd(-1)


def main():
    engine, arguments = sys.argv[1], json.loads(sys.argv[2])
    if engine == "werkzeug":
        from werkzeug.serving import run_simple
    else:
        from gatebridge.serving import run_simple
    warnings.simplefilter("always")
    arguments = {"hostname": "127.0.0.1", "port": 0, **arguments}
    before = signals()
    run_simple(application=app, **{name: special(value) for name, value in arguments.items()})
    print("after run_simple", flush=True)
    if signals() == before:
        print("signals are as before", flush=True)


if __name__ == "__main__":
    main()
