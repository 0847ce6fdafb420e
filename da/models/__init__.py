"""Networks: backbone -> bottleneck -> head."""
