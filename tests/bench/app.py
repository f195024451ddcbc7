"""The application that the figures are taken with."""

import time

CHUNK = b"y" * 65_536


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(0.05)
    elif path == "/sleep":  # ?ms=N
        time.sleep(int(environ["QUERY_STRING"].partition("=")[2]) / 1000)
    elif path == "/upload":
        read, got = environ["wsgi.input"].read, 0
        while data := read(65_536):
            got += len(data)
        return _text(start_response, b"%d" % got)
    elif path == "/big":
        count = int(environ["QUERY_STRING"])
        head = [("Content-Type", "text/plain"), ("Content-Length", str(count * len(CHUNK)))]
        start_response("200 OK", head)
        return (CHUNK for _ in range(count))
    return _text(start_response, b"Hello, world!")


def _text(start_response, body):
    head = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", head)
    return [body]
