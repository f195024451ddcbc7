"""wsgiref.handlers, with a CGIHandler that also serves FastCGI."""
