"""The stainer process."""

from livestain.stainer.worker import main

main()
