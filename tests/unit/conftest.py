"""Hypothesis for this layer: quick, without a database on disk, the same examples each time."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=25, database=None, derandomize=True)
settings.load_profile("unit")
