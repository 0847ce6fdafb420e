"""One adapted model within a time budget: a few methods, successive halving, a guard."""
