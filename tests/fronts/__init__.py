"""The suite behind real front servers, and what only a real front server can show."""
