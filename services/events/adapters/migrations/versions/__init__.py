"""The migrations, in the order that each names."""
