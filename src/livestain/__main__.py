"""``python -m livestain``."""

from livestain.cli import main

main()
