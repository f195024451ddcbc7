"""What an application is promised: wsgi.input, start_response(), the answer's rules."""
