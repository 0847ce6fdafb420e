"""Networks made of the parameters of others."""
