"""The judge: virtual stains against measured ones, beside what costs nothing."""
