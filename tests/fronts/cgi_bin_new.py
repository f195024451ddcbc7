"""What takes the place of the programs in cgi_bin_old, one application for each.

Each gives the answer that the old one gave, but for the header X-Side. It is copied beside a
cgi-bin as newsite.py, and shares the folder data with the old programs.
"""

import fcntl
import hashlib
import time
import zlib
from pathlib import Path
from urllib.parse import parse_qs

DATA = Path(__file__).resolve().parent.parent / "data"


def answer(start_response, text="", status="200 OK", **headers):
    fields = [("Content-Type", "text/plain"), ("X-Side", "new")]
    start_response(status, [*fields, *headers.items()])
    return [text.encode()]


def posted(environ):
    return environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))


def form(data):
    return parse_qs(data.decode() if isinstance(data, bytes) else data)


def guestbook(environ, start_response):
    fields = form(posted(environ))
    (name,), (text,) = fields["name"], fields["text"]
    with (DATA / "guestbook").open("a") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.write(f"{name}: {text}\n")
    return answer(start_response, f"thank you, {name}\n", "201 Created")


def upload(environ, start_response):
    boundary = environ["CONTENT_TYPE"].partition("boundary=")[2].encode()
    _, part, _ = posted(environ).split(b"--" + boundary)
    head, _, data = part.removesuffix(b"\r\n").partition(b"\r\n\r\n")
    name = head.decode().partition('filename="')[2].partition('"')[0]
    return answer(start_response, f"{name} {len(data)} {hashlib.sha256(data).hexdigest()}\n")


def calc(environ, start_response):
    numbers = form(posted(environ))["n"]
    return answer(start_response, f"{' + '.join(numbers)} = {sum(map(int, numbers))}\n")


def report(environ, start_response):
    fields = form(environ["QUERY_STRING"])
    rows = [f"row {row} {fields['title'][0]}\n" for row in range(int(fields["rows"][0]))]
    return answer(start_response, "".join(rows))


def search(environ, start_response):
    word = form(environ["QUERY_STRING"])["q"][0]
    return answer(start_response, f"{word} in {environ['PATH_INFO']} of {environ['SCRIPT_NAME']}\n")


def counter(environ, start_response):
    with (DATA / "counter").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        count = int(file.read()) + 1
        file.seek(0)
        file.truncate()
        file.write(f"{count}\n")
    return answer(start_response, f"{count}\n")


def status(environ, start_response):
    asked = f"{environ['REQUEST_METHOD']} {environ['SCRIPT_NAME']}?{environ['QUERY_STRING']}"
    return answer(start_response, f"{asked} for {environ['HTTP_X_VISITOR']}\n")


def digest(environ, start_response):
    data = posted(environ)
    return answer(start_response, f"{len(data)} {zlib.adler32(data):08x}\n")


def go(environ, start_response):
    page = f"http://{environ['HTTP_HOST']}/docs/{form(environ['QUERY_STRING'])['to'][0]}.html"
    return answer(start_response, status="302 Found", Location=page)


def find(environ, start_response):
    """The search of the archive, without a second request inside."""
    word = form(environ["QUERY_STRING"])["q"][0]
    text = f"{word} in /archive of /cgi-bin/search.pl\n"
    return answer(start_response, text, **{"X-Found": "at once"})


def progress(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Side", "new")])
    for step in range(3):
        yield f"step {step}\n".encode()
        time.sleep(0.005)


def feed(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Side", "new")])
    yield b"begin\n"
    if environ["QUERY_STRING"] == "wait":
        yield (DATA / "news").read_bytes()
    else:
        time.sleep(0.05)
    yield b"end\n"
