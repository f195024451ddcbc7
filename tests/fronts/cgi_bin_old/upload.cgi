#!python
# Python 3 with the cgi module: takes a file.
import cgi
import hashlib

item = cgi.FieldStorage()["file"]
data = item.file.read()
print("Content-Type: text/plain")
print("X-Side: old")
print()
print(item.filename, len(data), hashlib.sha256(data).hexdigest())
