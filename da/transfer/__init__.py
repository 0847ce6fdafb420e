"""Carrying knowledge over when the target has labels: what to transfer from, and how."""
