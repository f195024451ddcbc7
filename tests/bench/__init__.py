"""Figures, not tests: nothing here is collected, and nothing here fails."""
