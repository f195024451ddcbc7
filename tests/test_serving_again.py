"""run_simple() in a program that goes on behind it: nothing of the serving is left."""

import subprocess
import sys
from pathlib import Path

import pytest

AGAIN = """
import http.client, os, signal, socket, sys, threading
from gatebridge.serving import run_simple

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]

def ask(port, number, kept):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/")
    connection.getresponse().read()
    kept.append(connection)
    os.kill(os.getpid(), number)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    kept = []
    asking = []
    class Began:  # the line that says where it is: by then it listens
        def write(self, text):
            if "Running on" in text:
                asking.append(threading.Thread(target=ask, args=(port, number, kept)))
                asking[0].start()
        def flush(self):
            pass
    sys.stderr = Began()
    run_simple("127.0.0.1", port, app, threaded=True)
    sys.stderr = sys.__stderr__
    asking[0].join()
    assert kept[0].sock.recv(1) == b"", "its connection is open"
    kept[0].close()
    print(len(os.listdir("/proc/self/fd")), threading.active_count())
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_program_that_goes_on_gets_all_back(tmp_path):
    """Threads, descriptors and kept connections, after Ctrl-C and after TERM."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.split("\n")[:3]
    assert others == [first, first]
    assert first.endswith(" 1")
