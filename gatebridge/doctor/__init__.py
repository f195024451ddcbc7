"""Which link between a browser and an application is broken, and what mends it."""
