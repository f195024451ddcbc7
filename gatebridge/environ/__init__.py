"""Variables of a request into a WSGI environ, made right where servers are known to lie."""
