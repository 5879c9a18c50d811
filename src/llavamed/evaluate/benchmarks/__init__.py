"""Benchmarks of visual questions, and a user's own."""
