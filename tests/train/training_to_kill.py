"""A training in a process of its own, for a test that kills it: images folder and model folder are its arguments."""

from __future__ import annotations

import sys
from pathlib import Path

from livestain.train.data import load_fields
from livestain.train.run import train
from livestain.train.sources import find_sources
from tests.train.pieces import QUICK


def main() -> None:
    images, output = map(Path, sys.argv[1:])
    sources = find_sources(images / "label-free", "label_free")
    fields = load_fields(sources, {"nuclei": find_sources(images / "nuclei", "nuclei")})
    train(QUICK, fields, [], output, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
