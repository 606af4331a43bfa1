"""One adapter per engine library."""
