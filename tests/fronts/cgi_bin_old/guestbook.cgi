#!python
# Python 3 with the cgi module: a line for each visitor who writes one.
import cgi
import cgitb
import fcntl

cgitb.enable()
form = cgi.FieldStorage()
name = form.getfirst("name", "")
if name:
    with open("../data/guestbook", "a") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.write("%s: %s\n" % (name, form.getfirst("text", "")))
    print("Status: 201 Created")
print("Content-Type: text/plain; charset=utf-8")
print("X-Side: old")
print()
print("thank you, %s" % name if name else "write something")
