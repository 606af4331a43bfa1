from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stainer.pieces import Recorded


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path)
    yield made
    made.end()
