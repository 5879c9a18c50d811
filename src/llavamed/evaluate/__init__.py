"""A checkpoint to scores, with the controls that say what they are worth."""
