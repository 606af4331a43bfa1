"""What other programs say of our files and do for us: each needs its own pins, so these run in environments of theirs.

``bash .ci/other_programs`` makes the environments and runs the tests; elsewhere they are skipped.
"""
