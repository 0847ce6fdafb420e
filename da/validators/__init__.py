"""Scores of a model that need no target labels."""
