"""The session from its beginning to its end: events, waiting, closing, counters."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import useq
from pymmcore_plus import CMMCorePlus

import livestain
from livestain.errors import EngineError, FrameError, ModelError, RunError, UserError
from livestain.frames import Key, Stain
from livestain.session.results import LateStain
from livestain.session.session import Session
from livestain.sources.camera import make_core
from livestain.store.read import open_run
from tests.conftest import leftovers
from tests.session.pieces import (
    PATIENCE_S,
    Counts,
    Feed,
    await_that,
    break_engine,
    camera,
    check_closed,
    frame,
    raw_plane,
    stain_planes,
    stain_rows,
    timed,
)

NOBODY = (7, 7)
"""A place that no frame has: followed, it makes every stain a late one."""


@contextmanager
def attached(model: Path, record: Path | None, **options: Any) -> Iterator[tuple[CMMCorePlus, Session]]:
    """A core with a session, in a thread unless told otherwise."""
    with (
        make_core(camera()) as core,
        livestain.attach(core, model, record, **{"isolate": False, **options}) as session,
    ):
        yield core, session


def test_the_life_of_a_session_in_order(model_folder: Path, tmp_path: Path) -> None:
    events: list[tuple[str, object]] = []
    with make_core(camera()) as core, livestain.attach(core, model_folder, tmp_path / "run") as session:
        assert session.run == tmp_path / "run"
        assert session.status.state == "waiting"
        assert session.latest() is None
        assert session.report() == ()
        session.stained.connect(lambda result: events.append(("stained", result)))
        session.finished.connect(lambda run: events.append(("finished", run)))
        session.status_changed.connect(lambda status: events.append(("status", status.state)))
        core.mda.run(timed(4))
        assert session.wait((0, 3, 0), PATIENCE_S).key == Key(0, 3, 0)
        assert session.status.state in ("recording", "finishing", "closed")
        session.close()
    counters = check_closed(tmp_path / "run", received=4, saved=4, behind=0, unstained=0)
    (status,) = session.report()
    assert status.state == "closed"
    assert status.counters.__dict__ == counters
    assert events[-1] == ("finished", str(tmp_path / "run"))
    assert [name for name, _ in events].count("finished") == 1
    late = [result for _, result in events if isinstance(result, LateStain)]
    assert len(late) == counters["late"]
    state = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert state["model"]["caution"] == "random weights, for tests only"
    assert (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    for t in range(4):
        np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, t, 0)), frame(t))


def test_what_is_not_recorded_is_stained_live_or_skipped(model_folder: Path) -> None:
    with attached(model_folder, None) as (core, session):
        core.mda.run(timed(20, 0.01))
        await_that(session.latest)
        with pytest.raises(TimeoutError):
            session.wait((0, 999, 0), 0.05)
        assert session.run is None
    counters = session.status.counters
    assert counters.received == counters.labelfree == 20
    assert counters.live + counters.skipped == 20
    assert counters.live >= 1
    assert counters.lost == 0


def test_a_live_stain_is_told_with_its_pixels(model_folder: Path, tmp_path: Path) -> None:
    told: list[Stain] = []
    with attached(model_folder, tmp_path / "run") as (core, session):
        session.stained.connect(lambda result: told.append(result) if isinstance(result, Stain) else None)
        core.mda.run(timed(1))
        session.wait((0, 0, 0), PATIENCE_S)
        core.mda.run(timed(3, 0.2))
    assert told
    for stain in told[-1:]:
        assert stain.live
        assert stain.names == ("nuclei", "membrane")
        run = session.run
        assert run is not None
        row = stain_rows(run)[stain.key]
        np.testing.assert_array_equal(stain.stains, stain_planes(run, stain.key))
        assert (row["live"], row["engine"], row["input"]["sd"]) == (True, stain.engine, round(stain.input.sd, 5))
        assert stain.timing.total_ms >= stain.timing.engine_ms > 0


def test_a_late_stain_is_told_with_its_key_and_row_and_can_be_waited_for(model_folder: Path, tmp_path: Path) -> None:
    told: list[LateStain] = []
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        session.stained.connect(told.append)
        core.mda.run(timed(3))
        waited = session.wait(Key(0, 1, 0), PATIENCE_S)
        assert not waited.live
        np.testing.assert_array_equal(waited.stains, stain_planes(tmp_path / "run", waited.key))
    assert [late.key for late in told] == [Key(0, t, 0) for t in range(3)]
    assert {late.key: late.row for late in told} == stain_rows(tmp_path / "run")
    check_closed(tmp_path / "run", late=3, live=0)


def test_only_the_followed_place_is_live(model_folder: Path, tmp_path: Path) -> None:
    plan = useq.MDASequence(
        time_plan={"interval": 0.05, "loops": 6}, stage_positions=[(0, 0), (1, 1)], axis_order="tpcz"
    )
    with attached(model_folder, tmp_path / "run", follow=(1, 0)) as (core, session):
        core.mda.run(timed(1))
        session.wait((0, 0, 0), PATIENCE_S)
        core.mda.run(plan)
    rows = stain_rows(tmp_path / "run_002")
    assert len(rows) == 12
    assert {key.p for key, row in rows.items() if row["live"]} == {1}


def test_the_newest_run_is_waited_for(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (core, session):
        core.mda.run(timed(3))
        session.wait((0, 2, 0), PATIENCE_S)
        core.mda.run(timed(20, 0.05))
        await_that(session.latest)
        latest = session.latest()
        assert latest is not None
        first = session.wait(latest.key, PATIENCE_S)
        core.mda.run(timed(20, 0.05))
        second = session.wait(latest.key, PATIENCE_S)
    np.testing.assert_array_equal(first.stains, stain_planes(tmp_path / "run_002", latest.key))
    np.testing.assert_array_equal(second.stains, stain_planes(tmp_path / "run_003", latest.key))
    assert not np.array_equal(first.stains, second.stains)


def test_a_plane_that_cannot_be_stained_is_an_error_with_the_reason(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        raise FrameError("an ugly frame")

    break_engine(monkeypatch, refuse)
    with attached(model_folder, tmp_path / "run") as (core, session):
        core.mda.run(timed(2))
        with pytest.raises(EngineError, match="p0 t1 z0 is not stained: an ugly frame"):
            session.wait((0, 1, 0), PATIENCE_S)
    check_closed(tmp_path / "run", saved=2, unstained=2)


def test_a_listener_that_raises_is_counted_and_nothing_else(model_folder: Path, tmp_path: Path) -> None:
    finished: list[str] = []
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        session.stained.connect(lambda result: 1 / 0)
        session.finished.connect(finished.append)
        core.mda.run(timed(3))
    assert session._results.errors == 3
    assert finished == [str(tmp_path / "run")]
    check_closed(tmp_path / "run", late=3)


@pytest.mark.parametrize("isolate", [True, False], ids=["process", "thread"])
def test_a_session_without_a_sequence_closes_with_zeros(isolate: bool, model_folder: Path, tmp_path: Path) -> None:
    finished: list[str] = []
    with attached(model_folder, tmp_path / "run", isolate=isolate) as (_, session):
        session.finished.connect(finished.append)
    check_closed(tmp_path / "run", received=0, labelfree=0)
    assert finished == [str(tmp_path / "run")]
    assert session.status.state == "closed"


@pytest.mark.filterwarnings("ignore:.*enerator.*")
def test_a_sequence_without_frames_closes_with_zeros(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run", channel="BF") as (core, _):
        core.mda.run(iter(()))
    check_closed(tmp_path / "run", received=0, labelfree=0)


def test_runs_that_follow_each_other_at_once_are_all_whole(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (core, session):
        for frames in (5, 1, 4):
            core.mda.run(timed(frames, 0.0))
    assert [status.counters.saved for status in session.report()] == [5, 1, 4]
    for name, frames in (("run", 5), ("run_002", 1), ("run_003", 4)):
        check_closed(tmp_path / name, received=frames, saved=frames, behind=0, unstained=0)


def test_the_camera_may_change_between_runs(model_folder: Path, tmp_path: Path) -> None:
    forms: dict[str, Counts] = {
        "run": frame(0),
        "run_002": frame(1, (96, 160)),
        "run_003": (frame(2) >> 4).astype(np.uint8),
    }
    with attached(model_folder, tmp_path / "run") as (_, session):
        for image in forms.values():
            feed = Feed(session)
            feed.put(image, image)
            feed.end()
    for name, image in forms.items():
        check_closed(tmp_path / name, saved=2, behind=0, unstained=0)
        np.testing.assert_array_equal(raw_plane(tmp_path / name, (0, 1, 0)), image)
        assert stain_planes(tmp_path / name, (0, 1, 0)).shape == (2, *image.shape)


def test_an_acquisition_that_ran_already_is_not_recorded_and_the_next_one_is(
    model_folder: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    with make_core(camera()) as core:
        first = threading.Event()
        core.mda.events.frameReady.connect(lambda: first.set())
        thread = core.run_mda(timed(100_000))
        assert first.wait(PATIENCE_S)
        with livestain.attach(core, model_folder, tmp_path / "run", isolate=False) as session:
            session.warning.connect(told.append)
            await_that(lambda: told)
            core.mda.cancel()
            thread.join(PATIENCE_S)
            core.mda.run(timed(2))
    assert "while no run was open: they are not recorded" in told[0]
    check_closed(tmp_path / "run", received=2, saved=2, behind=0)


def test_a_listener_may_wait_for_a_stain(model_folder: Path, tmp_path: Path) -> None:
    waited: list[Stain] = []
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        session.stained.connect(lambda late: waited.append(session.wait(late.key, PATIENCE_S)))
        core.mda.run(timed(3))
    assert [stain.key for stain in waited] == [Key(0, t, 0) for t in range(3)]
    assert session._results.errors == 0


def test_a_closed_session_holds_no_file_and_no_frame(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (_, session):
        feed = Feed(session)
        feed.put(*(frame(k) for k in range(4)))
        feed.end()
    held = [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]
    assert held == []
    assert feed.intake.waiting_bytes == 0


# -- closing -----------------------------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (core, session):
        core.mda.run(timed(2))
        session.close()
        session.close()
    check_closed(tmp_path / "run", saved=2, behind=0)


def test_closing_during_an_acquisition_saves_what_came_and_leaves_the_rest(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (core, session):
        thread = core.run_mda(timed(10_000, 0.005))
        await_that(lambda: session.status.counters.saved >= 5)
        session.close()
        assert core.mda.is_running()
        core.mda.cancel()
        thread.join(20)
    counters = check_closed(tmp_path / "run", behind=0, unstained=0, failed=0)
    assert 5 <= counters["saved"] < 10_000
    for t in range(5):
        np.testing.assert_array_equal(raw_plane(tmp_path / "run", (0, t, 0)), frame(t))


CLOSERS: dict[str, Callable[[Session], None]] = {
    "not to drain": lambda session: session.close(drain=False),
    "the time is up": lambda session: session.close(timeout_s=0.05),
}


@pytest.mark.parametrize("close", CLOSERS.values(), ids=CLOSERS.keys())
def test_what_is_left_without_a_stain_is_named(
    close: Callable[[Session], None], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_engine(monkeypatch, lambda number: slow(0.1))
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        core.mda.run(timed(60, 0.0))
        session.wait((0, 0, 0), PATIENCE_S)
        close(session)
    counters = session.status.counters
    assert (counters.saved, counters.failed, counters.waiting) == (60, 0, 0)
    assert counters.late >= 1
    assert counters.behind >= 1
    check_closed(tmp_path / "run", saved=60, behind=counters.behind)
    assert len(open_run(tmp_path / "run").missing()) == counters.behind


def test_closing_at_once_saves_what_came_and_stains_nothing(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (_, session):
        feed = Feed(session)
        feed.put(*(frame(k) for k in range(30)))
        feed.end()
        session.close(drain=False)
    assert check_closed(tmp_path / "run", saved=30, failed=0)["behind"] >= 1


def test_a_second_close_may_leave_what_the_first_would_stain(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_engine(monkeypatch, lambda number: slow(0.1))
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        core.mda.run(timed(100, 0.0))
        first = threading.Thread(target=session.close)
        first.start()
        session.close(drain=False)
        first.join(PATIENCE_S)
        assert not first.is_alive()
    assert check_closed(tmp_path / "run", saved=100)["behind"] >= 1


@pytest.mark.parametrize("event", ["stained", "status_changed", "finished"])
def test_a_listener_may_close_the_session(event: str, model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run", follow=NOBODY) as (core, session):
        getattr(session, event).connect(lambda _: session.close())
        core.mda.run(timed(2))
    check_closed(tmp_path / "run", saved=2)


def test_a_session_that_nobody_closes_ends_with_its_with_block_when_something_raises(
    model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), attached(model_folder, tmp_path / "run") as (core, _):
        core.mda.run(timed(3))
        1 / 0  # noqa: B018
    check_closed(tmp_path / "run", saved=3, behind=0)


def engine_ready(session: Session) -> bool:
    return bool(session.status.engine)


def slow(seconds: float) -> None:
    """Take as long as a slow engine."""
    threading.Event().wait(seconds)


# -- a beginning that fails --------------------------------------------------------------------------------------------


def not_empty(folder: Path) -> dict[str, Any]:
    (folder / "run").mkdir()
    (folder / "run" / "notes.txt").write_text("mine")
    return {"record": folder / "run"}


def below_a_file(folder: Path) -> dict[str, Any]:
    (folder / "file").write_text("mine")
    return {"record": folder / "file" / "run"}


BEGINNINGS: dict[str, tuple[Callable[[Path], dict[str, Any]], type[UserError], str]] = {
    "run folder not empty": (not_empty, RunError, r"is not empty: choose another name, such as run_002"),
    "run folder below a file": (below_a_file, RunError, r"cannot be used to record a run"),
    "no model": (lambda folder: {"model": folder / "nothing"}, ModelError, r"nothing"),
    "impossible option": (lambda _: {"when_full": "drop"}, UserError, r"when_full = 'drop' is not possible"),
}


@pytest.mark.parametrize(("prepare", "kind", "words"), BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_beginning_that_fails_leaves_nothing(
    prepare: Callable[[Path], dict[str, Any]], kind: type[UserError], words: str, model_folder: Path, tmp_path: Path
) -> None:
    asked = {"model": model_folder, "record": tmp_path / "run", **prepare(tmp_path)}
    with make_core(camera()) as core:
        before = leftovers()
        with pytest.raises(kind, match=words) as raised:
            livestain.attach(core, **asked)
        assert "\n" not in str(raised.value)
        assert leftovers() == before
        assert len(core.mda.events.frameReady) == 0


def test_a_folder_in_the_way_of_the_second_run_is_passed_over(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (core, _):
        (tmp_path / "run_002").mkdir()
        (tmp_path / "run_002" / "notes.txt").write_text("mine")
        core.mda.run(timed(1))
        core.mda.run(timed(1))
    check_closed(tmp_path / "run_003", saved=1)


def test_a_run_folder_deleted_before_the_first_frame_is_named_and_every_frame_counted(
    model_folder: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    with attached(model_folder, tmp_path / "run") as (core, session):
        session.warning.connect(told.append)
        await_that(partial(engine_ready, session))  # nobody writes into it while it goes
        shutil.rmtree(tmp_path / "run")
        core.mda.run(timed(3))
    counters = session.status.counters
    assert (counters.received, counters.failed, counters.saved, counters.waiting) == (3, 3, 0, 0)
    assert any("nothing of it is recorded" in text for text in told)
    assert session.status.state == "closed"


# -- the same stain ----------------------------------------------------------------------------------------------------


def test_a_frame_gets_the_same_stain_live_and_late(model_folder: Path, tmp_path: Path) -> None:
    for name, options in {"live": {}, "late": {"follow": NOBODY}}.items():
        with attached(model_folder, tmp_path / name, **options) as (core, session):
            await_that(partial(engine_ready, session))
            core.mda.run(timed(8, 0.1))
    rows = stain_rows(tmp_path / "live")
    live = [key for key, row in rows.items() if row["live"]]
    assert live
    assert not any(row["live"] for row in stain_rows(tmp_path / "late").values())
    for key in rows:
        np.testing.assert_array_equal(raw_plane(tmp_path / "live", key), raw_plane(tmp_path / "late", key))
        np.testing.assert_array_equal(stain_planes(tmp_path / "live", key), stain_planes(tmp_path / "late", key))


def test_frames_of_a_source_of_another_kind_are_recorded_too(model_folder: Path, tmp_path: Path) -> None:
    with attached(model_folder, tmp_path / "run") as (_, session):
        feed = Feed(session)
        feed.put(frame(0), frame(1))
        feed.end()
    check_closed(tmp_path / "run", saved=2, behind=0, unstained=0)
