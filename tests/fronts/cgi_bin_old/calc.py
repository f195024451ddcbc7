#!python
# Python 3 without anything of CGI: reads its form by itself, and cleans up nothing.
import os
import sys
import urllib.parse

total = 0
seen = []


def add(text):
    global total
    seen.append(text)
    total += int(text)


os.environ["LC_ALL"] = "C"
os.chdir("/")
body = sys.stdin.read(int(os.environ.get("CONTENT_LENGTH") or 0))
for text in urllib.parse.parse_qs(body).get("n", []):
    add(text)
sys.stdout.write("Content-Type: text/plain\r\nX-Side: old\r\n\r\n")
sys.stdout.write("{} = {}\n".format(" + ".join(seen), total))
sys.exit(0)
