"""A cgi-bin of old programs, as they are found on real servers."""

import struct
from pathlib import Path

PYTHON_3 = b"#!/usr/bin/env python3\n"
PYTHON_2 = b"#!/usr/bin/python2.7\n"


def elf(loader: bytes, machine: int = 62) -> bytes:
    """The head of a 64-bit little-endian program that names a loader."""
    head = struct.pack("<4sBBB9xHHIQQQIHHH", b"\x7fELF", 2, 1, 1, 2, machine, 1, 0, 64, 0, 0,
                       64, 56, 1) + bytes(6)  # fmt: skip
    return head + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, 0, 1) + loader + b"\0"


PROGRAMS = {
    "clean.py": PYTHON_3 + b"import os\nprint('Content-Type: text/plain\\n')\n"
    b"print(os.environ['QUERY_STRING'])\n",
    "counter.cgi": PYTHON_3 + b"import os, sys\nos.umask(0o077)\nos.chdir('/tmp')\n"
    b"with open('count', 'a') as file:\n    file.write('x')\nsys.exit(0)\n",
    "fork.py": PYTHON_3 + b"import os\nif os.fork() == 0:\n    os._exit(0)\nprint()\n",
    "threads.py": PYTHON_3 + b"from threading import Thread as T\n\n\ndef go():\n"
    b"    T(target=print).start()\n\n\ngo()\n",
    "old.py": PYTHON_2 + b"import cgi, MySQLdb, urllib2, os\nform = cgi.FieldStorage()\n"
    b"print 'Content-Type: text/plain\\n'\ntry:\n    print urllib2.urlopen('http://x/').read()\n"
    b"except Exception, error:\n    print `error`\nopen('log', 'w')\nos.system('date')\n",
    "names.cgi": b"#!/usr/bin/python\nimport os\nfor i in xrange(3):\n    print(unicode(i))\n",
    "flask_app.py": PYTHON_3 + b"import absent_web\napp = absent_web.Application(__name__)\n",
    "wsgi_ready.py": PYTHON_3 + b"def application(environ, start_response):\n"
    b"    start_response('200 OK', [])\n    return []\n\n\nif __name__ == '__main__':\n"
    b"    from wsgiref.handlers import CGIHandler\n    CGIHandler().run(application)\n",
    "wsgi_serves.py": PYTHON_3 + b"from wsgiref.handlers import CGIHandler\n\n\n"
    b"def app(environ, start_response):\n    return []\n\n\nCGIHandler().run(app)\n",
    "uses_helper.py": PYTHON_3 + b"import helper\nhelper.go()\n",
    "hello.pl": b"#!/usr/bin/perl\nuse CGI;\n# system('comment')\nmy $pid = fork();\n"
    b"system(\"date $ENV{QUERY_STRING}\");\nopen(my $f, '>', 'out');\n",
    "env.sh": b'#!/bin/bash\neval "$QUERY_STRING"\necho x > /tmp/out\n',
    "page.php": b"#!/opt/no-such/bin/php-cgi\n<?php system($_GET['x']); ?>\n",
    "hello.exe.cgi": elf(b"/lib64/no-such-loader.so.9"),
    "crlf.cgi": b"#!/usr/bin/perl\r\nprint 1;\r\n",
    "bom.py": b"\xef\xbb\xbf#!/usr/bin/env python3\nprint(1)\n",
    "nobody.cgi": b"echo hello\n",
    "missing.py": b"#!/opt/no-such/bin/python3\nprint(1)\n",
    "nph-push.py": PYTHON_3 + b"print('HTTP/1.1 200 OK\\r\\n\\r\\n')\n",
    "latin.py": b"#!/usr/bin/python2.7\n# -*- coding: latin-1 -*-\nprint u'\xe9'\n",
    "broken.py": PYTHON_3 + b"def (:\n",
    "windows.cgi": b"MZ\x90\0\3" + bytes(100),
    "sub/deep.py": PYTHON_3 + b"import requests_absent\nprint(1)\n",
}
PLAIN = {  # not executable
    "helper.py": b"import os\n\n\ndef go():\n    os._exit(0)\n",
    "notes.txt": b"notes\n",
    "style.css": b"a {}\n",
    "forgotten.cgi": PYTHON_3 + b"print(1)\n",
    "clean.py~": b"old\n",
    ".htpasswd": b"secret\n",
}


def make(folder: Path) -> Path:
    """Write it; modes are those that suexec wants, whatever the umask."""
    for mode, files in ((0o755, PROGRAMS), (0o644, PLAIN)):
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            path.chmod(mode)
    for path in (folder, folder / "sub"):
        path.chmod(0o755)
    return folder
