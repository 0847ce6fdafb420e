"""Launchers of sweeps, where Hydra looks for them."""
