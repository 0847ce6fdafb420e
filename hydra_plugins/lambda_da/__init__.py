"""What lambda-da adds to Hydra; Hydra finds it by its place, and takes plugins from here only."""
