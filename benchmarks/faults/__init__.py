"""What the product does with wrong option files and other faults of its input."""
