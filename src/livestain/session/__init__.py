"""The acquisition side: the public session and its threads."""
