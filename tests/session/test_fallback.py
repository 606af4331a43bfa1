"""An engine that goes away in a run: another one goes on, in the same precision, and no plane is lost or done twice."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from livestain.engine import opening
from livestain.engine.backends.base import BaseEngine
from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine, Precision
from livestain.errors import EngineError, EngineLostError, EngineMemoryError
from livestain.frames import Key
from livestain.model import Model
from livestain.session import staining
from livestain.session.session import Session
from livestain.session.stainers import StainerProcess
from livestain.settings import SessionSettings
from livestain.stainer.job import Job, Message
from livestain.store.ledger import read_rows
from tests.session.pieces import (
    EngineForTests,
    Feed,
    await_that,
    check_closed,
    frame,
    stain_planes,
    stain_rows,
)

FRAMES = 20
ALL = ("tensorrt", "openvino", "onnxruntime")
NOBODY = (7, 7)
"""A place that no frame has: followed, it makes every stain a late one."""

Row = dict[str, Any]
Fate = dict[str, Callable[[int], None]]
"""By backend: what happens ahead of the n-th plane (n = 1, 2, ...) of one life of an engine."""


class Plain(OnnxRuntimeEngine):
    """A library of any name and precision, which computes as ONNX Runtime does at f32."""

    able: ClassVar[tuple[Precision, ...]] = ("f32",)

    @classmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        return cls.able

    @classmethod
    def unusable(cls) -> str:
        return ""


def use(
    monkeypatch: pytest.MonkeyPatch,
    fate: Fate,
    able: dict[str, tuple[Precision, ...]] | None = None,
    installed: tuple[str, ...] = ALL,
) -> None:
    """Let every library be here that is ``installed``, compute in what it is ``able`` to, and meet its ``fate``."""

    def adapter(backend: str) -> type[BaseEngine]:
        return type("Adapter", (Plain,), {"backend": backend, "able": (able or {}).get(backend, ("f32",))})

    def opened(*passed: Any, **named: Any) -> Engine:
        engine = open_backend(*passed, **named)
        backend = engine.info.backend
        return EngineForTests(engine, fate.get(backend, lambda number: None), 4 if backend == "tensorrt" else 1)

    monkeypatch.setattr(opening, "find_adapter", adapter)
    monkeypatch.setattr(opening, "is_installed", installed.__contains__)
    monkeypatch.setattr(staining, "is_installed", installed.__contains__)
    monkeypatch.setattr("livestain.stainer.loop.open_backend", opened)


def at(error: Exception, n: int) -> Callable[[int], None]:
    """At the n-th plane and after it, in every life."""

    def raise_there(number: int) -> None:
        if number >= n:
            raise error

    return raise_there


def once(error: Exception, n: int) -> Callable[[int], None]:
    """At the n-th plane of the first life that comes so far."""
    left = [error]

    def raise_once(number: int) -> None:
        if number == n and left:
            raise left.pop()

    return raise_once


@contextmanager
def session_of(model: Path, record: Path | None, **options: Any) -> Iterator[tuple[Session, Feed]]:
    settings = SessionSettings(**{"isolate": False, "fsync": False, **options})
    with Session(model, record, settings) as session:
        yield session, Feed(session)


def run_of(model: Path, folder: Path, **options: Any) -> Session:
    """A run of some frames, to its end."""
    with session_of(model, folder, **options) as (session, feed):
        feed.put(*(frame(k) for k in range(FRAMES)))
        feed.end()
    return session


def ledger(run: Path) -> list[Row]:
    return read_rows(run / "stains" / "livestain-test-model" / "ledger.jsonl")[0]


def engines(run: Path) -> list[tuple[str, str, str]]:
    """Id, backend and precision of every engine of a run, in order."""
    return [(row["engine"], row["backend"], row["precision"]) for row in ledger(run) if "backend" in row]


LOST, FULL = EngineLostError("the device was unplugged"), EngineMemoryError("the device is full")

CHAINS: dict[str, tuple[Callable[[], Fate], tuple[str, ...], list[str]]] = {
    "lost": (lambda: {"tensorrt": at(LOST, 7)}, ALL, ["tensorrt", "openvino"]),
    "lost at once": (
        lambda: {"tensorrt": at(LOST, 1)},
        ALL,
        ["tensorrt", "openvino"],
    ),
    "full": (lambda: {"tensorrt": at(FULL, 7)}, ALL, ["tensorrt", "openvino"]),
    "lost, and the next one full": (
        lambda: {"tensorrt": at(LOST, 7), "openvino": at(FULL, 3)},
        ALL,
        ["tensorrt", "openvino", "onnxruntime"],
    ),
    "lost without OpenVINO": (
        lambda: {"tensorrt": at(LOST, 7)},
        ("tensorrt", "onnxruntime"),
        ["tensorrt", "onnxruntime"],
    ),
    "it crashes once": (
        lambda: {"tensorrt": once(RuntimeError("oh"), 7)},
        ALL,
        ["tensorrt", "tensorrt"],
    ),
    "it crashes always": (
        lambda: {"tensorrt": at(RuntimeError("oh"), 3)},
        ALL,
        ["tensorrt", "tensorrt", "openvino"],
    ),
    "lost, and the next one crashes once": (
        lambda: {"tensorrt": at(LOST, 3), "openvino": once(RuntimeError("oh"), 3)},
        ALL,
        ["tensorrt", "openvino", "openvino"],
    ),
}


@pytest.mark.parametrize("follow", [None, NOBODY], ids=["live", "late"])
@pytest.mark.parametrize(("fate", "installed", "expected"), CHAINS.values(), ids=CHAINS.keys())
def test_the_next_engine_goes_on_and_every_plane_is_stained_once(
    fate: Callable[[], Fate],
    installed: tuple[str, ...],
    expected: list[str],
    follow: tuple[int, int] | None,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, fate(), installed=installed)
    session = run_of(model_folder, tmp_path / "run", follow=follow)
    check_closed(tmp_path / "run", received=FRAMES, saved=FRAMES, failed=0, skipped=0, unstained=0, behind=0)
    assert engines(tmp_path / "run") == [(f"e{i}", name, "f32") for i, name in enumerate(expected, 1)]
    rows = [row for row in ledger(tmp_path / "run") if "state" in row]
    assert sorted(row["t"] for row in rows) == list(range(FRAMES))
    assert {row["state"] for row in rows} == {"ok"}
    for name in expected[1:]:
        assert any(f"is started again with backend {name!r}" in text for text in session.status.warnings)


def test_the_stains_are_those_of_one_engine(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {"tensorrt": at(LOST, 7)})
    run_of(model_folder, tmp_path / "two")
    use(monkeypatch, {})
    run_of(model_folder, tmp_path / "one")
    assert len(engines(tmp_path / "two")) == 2
    assert len(engines(tmp_path / "one")) == 1
    for t in range(FRAMES):
        np.testing.assert_array_equal(
            stain_planes(tmp_path / "two", (0, t, 0)), stain_planes(tmp_path / "one", (0, t, 0))
        )


def test_a_plane_keeps_the_engine_that_stained_it(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {"tensorrt": at(LOST, 7)})
    run_of(model_folder, tmp_path / "run", follow=NOBODY)
    rows = stain_rows(tmp_path / "run")
    by = [rows[Key(0, t, 0)]["engine"] for t in range(FRAMES)]
    # The others of the group in which it was lost are left to the next one, too.
    assert by == sorted(by)
    assert 3 <= by.count("e1") <= 6


def test_the_warning_says_what_happened(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"tensorrt": at(LOST, 7)})
    session = run_of(model_folder, tmp_path / "run")
    assert (
        "the stainer ended (the device was unplugged) and is started again with backend 'openvino'"
        in session.status.warnings
    )


def test_what_is_usual_is_learned_anew_of_another_device(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_then_lost(number: int) -> None:
        threading.Event().wait(0.1)
        at(LOST, 15)(number)

    use(monkeypatch, {"tensorrt": slow_then_lost})
    session = run_of(model_folder, tmp_path / "run", follow=NOBODY)
    assert 9 <= sum(row.get("engine_ms", 0) >= 100 for row in ledger(tmp_path / "run")) <= 14
    assert session.status.latency_ms["engine"][0] < 100


def test_without_a_record_the_next_engine_shows_what_comes(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"tensorrt": at(LOST, 3)})
    with session_of(model_folder, None) as (session, feed):
        shown: set[str] = set()
        k = 0
        while "e1" not in shown or not any("'openvino'" in text for text in session.status.warnings):
            feed.put(frame(k % 8))
            k += 1
            latest = session.latest()
            shown |= {latest.engine} if latest else set()
            assert k < 1e5
            threading.Event().wait(0.005)
        before = session.latest()
        assert before is not None

        def is_newer() -> bool:
            feed.put(frame(1))
            latest = session.latest()
            return latest is not None and latest.key != before.key

        await_that(is_newer)
        feed.end()
    assert session.status.counters.lost == 0


# -- one precision a run -----------------------------------------------------------------------------------------------


def test_the_next_engine_computes_in_the_precision_of_the_first(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able: dict[str, tuple[Precision, ...]] = {
        "tensorrt": ("f16", "f32"), "openvino": ("bf16", "f32"), "onnxruntime": ("f32", "f16"),
    }  # fmt: skip
    use(monkeypatch, {"tensorrt": at(LOST, 7)}, able)
    run_of(model_folder, tmp_path / "run")
    check_closed(tmp_path / "run", saved=FRAMES, unstained=0, behind=0)
    assert engines(tmp_path / "run") == [("e1", "tensorrt", "f16"), ("e2", "onnxruntime", "f16")]


PRECISIONS: dict[str, Fate] = {
    "lost": {"tensorrt": at(LOST, 7)},
    "crashed twice": {"tensorrt": at(RuntimeError("oh"), 5)},
}


@pytest.mark.parametrize("fate", PRECISIONS.values(), ids=PRECISIONS.keys())
def test_where_no_engine_has_the_precision_staining_is_off_and_says_so(
    fate: Fate, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, fate, {"tensorrt": ("f16",), "openvino": ("bf16", "f32"), "onnxruntime": ("f32",)})
    session = run_of(model_folder, tmp_path / "run")
    counters = check_closed(tmp_path / "run", received=FRAMES, saved=FRAMES, failed=0, unstained=0)
    assert 0 < counters["behind"] < FRAMES
    assert {precision for _, _, precision in engines(tmp_path / "run")} == {"f16"}
    (off,) = (text for text in session.status.warnings if "staining is off" in text)
    assert re.search(
        r"no engine is left that computes in f16, as this run does \(tensorrt: .*openvino computes in bf16 or f32 on "
        r"this machine, not in f16.*onnxruntime computes in f32 .*\)\. Recording goes on; these planes "
        "have no stain",
        off,
    )


def test_a_named_backend_is_started_again_and_never_replaced(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {"tensorrt": at(LOST, 5)})
    session = run_of(model_folder, tmp_path / "run", backend="tensorrt", follow=NOBODY)
    assert 0 < check_closed(tmp_path / "run", saved=FRAMES, unstained=0)["behind"] < FRAMES
    assert engines(tmp_path / "run") == [("e1", "tensorrt", "f32"), ("e2", "tensorrt", "f32")]
    assert any("tensorrt, which was asked for, does not go on" in text for text in session.status.warnings)


def test_a_failed_plane_or_two_are_no_reason_to_go_on_with_another(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {"tensorrt": once(EngineError("no luck"), 7)})
    run_of(model_folder, tmp_path / "run", follow=None)
    assert engines(tmp_path / "run") == [("e1", "tensorrt", "f32")]
    # In a group it had a second chance, alone; a live frame has none.
    assert check_closed(tmp_path / "run", behind=0)["unstained"] <= 1


def test_the_chain_is_the_order_of_auto() -> None:
    assert staining._CHAIN == opening._AUTO


# -- the process -------------------------------------------------------------------------------------------------------


def test_a_process_says_why_it_ends(tmp_path: Path) -> None:
    said: list[Message] = []
    ended: list[str] = []
    stainer = StainerProcess(Job(model=tmp_path / "none"), None, said.append, ended.append)
    await_that(lambda: ended)
    stainer.kill()
    (last,) = (message for message in said if message["is"] == "failed")
    assert str(tmp_path / "none") in last["text"]
    assert not last["lost"]
