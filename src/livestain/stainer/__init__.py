"""What to stain next, and doing it, in a process of its own."""
