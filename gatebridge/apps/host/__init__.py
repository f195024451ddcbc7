"""The program that hosts Python scripts: a process of its own, with one thread."""
