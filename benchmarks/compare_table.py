"""Tables of `compare.py`."""


def print_tables(found):
    print(found.keys())
