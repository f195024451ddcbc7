"""flup's import paths and constructor arguments; what differs is in docs/from-flup.md."""
