"""Tests of the trainer: all skipped where its extra is not installed."""

import pytest

pytest.importorskip("lightning", reason="the extra `train` is not installed")
