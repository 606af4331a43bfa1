"""NVIDIA: what is built, and what runs on a card."""
