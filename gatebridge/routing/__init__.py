"""Which application answers a request."""
