"""Choosing among finished runs without target labels."""
