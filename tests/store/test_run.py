"""The run folder being recorded: one owner, names that every system takes, a state replaced in one step."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest

from livestain.errors import RunError, StoreError
from livestain.store.metadata import atomic_write, read_document
from livestain.store.run import RunFolder, lock_folder, next_free
from tests.store.pieces import small_disk

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_a_new_run_has_its_places_and_says_who_records_it(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "some" / "run", {"fsync": True, "channel": None})
    state = json.loads((run.path / "run.json").read_text())
    assert state["settings"] == {"fsync": True, "channel": None}
    assert state["closed"] is None
    assert {"livestain", "python", "tensorstore"} <= state["versions"].keys()
    assert {"host", "pid", "machine", "started", "counters"} <= state.keys()
    assert run.raw.is_dir()
    assert run.log_path == run.path / "log.txt"
    run.close()


def test_an_empty_folder_is_taken_and_a_used_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder.create(tmp_path / "run", {}).close()
    with pytest.raises(RunError, match=r"run is not empty.*run_002"):
        RunFolder.create(tmp_path / "run", {})


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"file.*choose a folder"):
            RunFolder.create(path, {})


def test_a_read_only_place_is_refused(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "size=1m,ro") as disk,
        pytest.raises(RunError, match=r"Read-only.*choose a folder"),
    ):
        RunFolder.create(disk / "run", {})


@pytest.mark.parametrize(
    ("existing", "free"),
    [
        ([], "run"),
        (["run/"], "run"),
        (["run/x"], "run_002"),
        (["run"], "run_002"),
        (["run/x", "run_002/x", "run_003/x"], "run_004"),
        (["run/x", "run_003/x"], "run_002"),
    ],
    ids=str,
)
def test_the_next_free_name(tmp_path: Path, existing: list[str], free: str) -> None:
    for name in existing:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("x")
    assert next_free(tmp_path / "run") == tmp_path / free


def take_lock(folder: Path, answer: multiprocessing.queues.SimpleQueue[str]) -> None:
    try:
        lock_folder(folder).release()
    except RunError as error:
        answer.put(str(error))
    else:
        answer.put("free")


def lock_elsewhere(folder: Path) -> str:
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.queues.SimpleQueue[str] = context.SimpleQueue()
    process = context.Process(target=take_lock, args=(folder, answer))
    process.start()
    process.join(60)
    return answer.get()


def test_raw_is_locked_against_other_processes_until_closed_by_any_thread(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    assert "being written by another process" in lock_elsewhere(run.raw)
    closer = threading.Thread(target=run.close)
    closer.start()
    closer.join()
    assert lock_elsewhere(run.raw) == "free"
    run.close()


def test_run_json_is_written_at_most_once_a_second_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr("livestain.store.run.time.monotonic", lambda: now[0])
    run = RunFolder.create(tmp_path / "run", {})

    def on_disk() -> object:
        return read_document(run.path / "run.json").get("counters")

    run.write_state(counters={"saved": 1})
    assert on_disk() == {}
    now[0] += 1.0
    run.write_state(model="m")
    assert on_disk() == {"saved": 1}
    run.write_state(counters={"saved": 2})
    assert on_disk() == {"saved": 1}
    run.close()
    run.write_state(force=True, closed=1.5)
    assert on_disk() == {"saved": 2}
    assert read_document(run.path / "run.json")["model"] == "m"


@pytest.mark.parametrize(
    ("models", "folders"),
    [
        ([("unet", A), ("unet", A)], ["unet", "unet"]),
        ([("unet", A), ("unet", B), ("unet", A), ("unet", B)], ["unet", "unet-bbbbbbbb", "unet", "unet-bbbbbbbb"]),
        ([("unet", A), ("UNet", B)], ["unet", "UNet-bbbbbbbb"]),
        ([("unet", A), ("UNet", A)], ["unet", "UNet-aaaaaaaa"]),
        ([("lab/unet:2", A)], ["lab-unet-2"]),
        ([("con", A), ("nul.v1", B), ("...", C)], ["con_", "nul.v1_", "unnamed"]),
        ([("ends in a dot. ", A)], ["ends in a dot"]),
        ([("x" * 200, A), ("x" * 200, B)], ["x" * 48, "x" * 39 + "-bbbbbbbb"]),
    ],
    ids=["again", "other weights", "other case", "other case, same weights", "separators", "reserved", "dot", "long"],
)
def test_stain_folders_are_legal_on_windows_and_belong_to_one_set_of_weights(
    tmp_path: Path, models: list[tuple[str, str]], folders: list[str]
) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    assert [run.stains(*model).name for model in models] == folders
    assert all((run.path / "stains" / name).is_dir() for name in folders)
    run.close()


def test_a_small_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    atomic_write(path, "old")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "held")

    with monkeypatch.context() as held:
        held.setattr(Path, "replace", refuse)
        with pytest.raises(StoreError, match=r"run\.json could not be replaced"):
            atomic_write(path, "new", patience_s=0.01)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_reader_that_holds_the_file_only_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [3]
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        refusals[0] -= 1
        if refusals[0] >= 0:
            raise PermissionError(13, "held")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    atomic_write(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "new"
