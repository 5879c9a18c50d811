"""Conversations to a checkpoint."""
