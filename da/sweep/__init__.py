"""Sweeps: how every job of one ended, whatever launched it, and searches."""
