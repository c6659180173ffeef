"""Configures the container once, at its start, and then stays as the parent of everything else (PID 1)."""
