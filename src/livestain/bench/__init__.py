"""How fast this machine stains, what limits it, and how far that is from what the machine can do."""
