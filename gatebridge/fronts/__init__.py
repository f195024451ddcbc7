"""Configurations for the servers in front: settings in, text out, pure functions."""
