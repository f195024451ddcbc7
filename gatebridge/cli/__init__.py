"""The command line: a group that loads commands by name, and one file for each."""
