"""The protocols without any I/O: bytes in, events out; calls in, bytes out."""
