"""What kind of shift there is between two domains, and what to try."""
