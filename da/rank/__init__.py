"""`da rank`: which source and which pretrained network to start from."""
