"""One small application for each framework, the same routes in all of them, one table of rows."""
