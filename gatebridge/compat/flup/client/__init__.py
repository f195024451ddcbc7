"""flup.client: WSGI applications that ask a FastCGI or SCGI server."""
