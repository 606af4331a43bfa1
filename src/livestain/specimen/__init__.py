"""Simulated living cells with truth."""
