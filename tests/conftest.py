"""What all tests share: a model, a clean end of every test, and where real data lie."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from livestain.stainer import slots
from tests.models import write_test_model

# Before Qt is loaded: without a display it ends the process, and with one the tests would open their windows there.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Else the core's signals would be Qt's in each test that runs after one with a window.
os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")
# Tiny networks on two threads wait for each other: on a busy machine ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_LEAVE_S = 20.0


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two stains with random weights."""
    return write_test_model(tmp_path_factory.mktemp("shared-model") / "model")


@pytest.fixture
def real_data() -> Path:
    """The folder of the laboratory's image sets."""
    beside = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("LIVESTAIN_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (set LIVESTAIN_REAL_DATA): would show that real images come through whole")
    return folder


class Done(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Livestain = Callable[..., Done]


@pytest.fixture
def livestain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Livestain:
    """Run a command line in this process."""
    from livestain import cli

    monkeypatch.setenv("COLUMNS", "500")
    # No window, also where the tests run on somebody's screen.
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.delenv("LIVESTAIN_VIEW", raising=False)
    # It would change the log of every later test, and leaves its file open.
    monkeypatch.setattr("pymmcore_plus.configure_logging", lambda **_: None)

    def run(*words: object) -> Done:
        monkeypatch.setattr("sys.argv", ["livestain", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, written.out, written.err)

    return run


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a stainer process or a slot file of ours behind."""
    before = set(leftovers())
    yield
    until = time.monotonic() + _LEAVE_S
    while (left := set(leftovers()) - before) and time.monotonic() < until:
        threading.Event().wait(0.01)
    assert not left, f"left behind: {', '.join(sorted(left))}"


def leftovers() -> list[str]:
    """Threads and stainer processes of ours that live, and slot files of this process."""
    threads = [f"thread {thread.name} {thread.ident}" for thread in threading.enumerate() if _is_ours(thread)]
    files = [f"file {path}" for path in slots._folder().glob(f"livestain-{os.getpid()}-*")]
    return threads + files + [f"process {pid}" for pid in stainer_pids()]


def stainer_pids(parent: int | None = None) -> list[int]:
    """The pids of the stainer processes below a process (below this one by default)."""
    found = []
    try:
        children = psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for child in children:
        try:
            if "livestain.stainer" in child.cmdline():
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("livestain-")
