"""Lineage to the public training-data summary."""
