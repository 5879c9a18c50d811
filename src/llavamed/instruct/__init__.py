"""Figures to conversations."""
