"""Runs that differ in the weights of their terms only, trained at once as one stacked model."""
