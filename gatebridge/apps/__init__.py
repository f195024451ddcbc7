"""Applications: loaded by name, or made of something else."""
