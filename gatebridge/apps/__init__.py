"""WSGI applications of our own, and how those of others are found."""
