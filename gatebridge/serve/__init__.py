"""Sockets, threads and processes: everything that does I/O for a daemon."""
