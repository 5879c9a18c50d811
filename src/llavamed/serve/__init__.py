"""A checkpoint to answers."""
