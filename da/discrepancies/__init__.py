"""Distances D(F_s, F_t) between two clouds of features: pure functions, and thin modules with their settings."""
