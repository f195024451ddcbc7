#!python
# Python 3, writes the answer's first line itself and shows each step as it is made.
import sys
import time

sys.stdout.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nX-Side: old\r\n\r\n")
for step in range(3):
    sys.stdout.write(f"step {step}\n")
    sys.stdout.flush()
    time.sleep(0.005)
