"""What lies on disk as images."""
