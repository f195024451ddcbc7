"""One suite of (request, application, expected) rows, run unchanged through every mode."""
