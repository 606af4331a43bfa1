"""The run folder: planes, ledgers, metadata."""
