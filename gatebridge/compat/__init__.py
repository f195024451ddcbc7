"""The names that old FastCGI scripts import, on this engine."""
