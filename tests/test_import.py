"""`import livestain` is light, and every public name is there."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import livestain

HEAVY = ("torch", "PySide6", "qtpy", "tensorstore", "openvino", "onnxruntime", "onnx", "pymmcore_plus", "lightning",
         "scipy", "zarr", "pydantic", "numpy")  # fmt: skip


def test_import_loads_no_heavy_module() -> None:
    code = "import json, sys, livestain; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not set(HEAVY) & set(loaded)


def test_import_costs_less_than_300_ms() -> None:
    def best_s(code: str) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    assert best_s("import livestain") - best_s("pass") < 0.3


def test_every_public_name_resolves() -> None:
    assert len(livestain.__all__) <= 20
    for name in livestain.__all__:
        assert getattr(livestain, name) is not None
    assert set(livestain.__all__) <= set(dir(livestain))
