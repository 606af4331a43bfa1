"""A run whose frames a test puts one by one, of any channel, anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from livestain.frames import Key, Stain
from livestain.session.intake import Place, Sequence
from livestain.session.session import Session
from livestain.settings import parse_settings
from tests.session.pieces import FACTS, PATIENCE_S, Counts, await_that, frame


class Source:
    """A run whose frames a test puts one by one, each at the next time point unless told otherwise."""

    def __init__(
        self,
        session: Session,
        label_free: str | None = "BF",
        channels: tuple[str, ...] = ("BF",),
        pixel_um: float = 0.65,
    ) -> None:
        self.session, self.t, self.pixel_um = session, 0, pixel_um
        described = Sequence(
            label_free, place=lambda at: Place(at[0], at[1], ""), describe=lambda at: at[2], channels=channels,
            pixel_um=pixel_um, bit_depth=12, why="nobody said which",
        )  # fmt: skip
        self.intake = session.begin_run(described)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.intake.end()

    def put(
        self, image: Counts | None = None, *, t: int | None = None, p: int = 0, z: int = 0, channel: str = "BF"
    ) -> Key:
        """Deliver a frame: by default `frame` of its t."""
        t = self.t if t is None else t
        self.t = t + 1
        key, facts = Key(p, t, z), FACTS._replace(time_s=0.1 * t, pixel_um=self.pixel_um)
        self.intake.put(frame(t) if image is None else image, (key, channel, facts), time.monotonic_ns(), burst=False)
        return key

    def stain(self, image: Counts | None = None, *, p: int = 0, z: int = 0) -> Stain:
        """Deliver frames until one is stained live (on a full machine its row may be read first), and return it."""
        while True:
            key = self.put(image, p=p, z=z)
            if self.session.wait(key, PATIENCE_S).live:
                await_that(partial(self._is_newest, key))
                latest = self.session.latest()
                assert latest is not None
                return latest

    def _is_newest(self, key: Key) -> bool:
        latest = self.session.latest()
        return latest is not None and latest.key == key


def newest_t(session: Session) -> int:
    latest = session.latest()
    return latest.key.t if latest is not None else -1


@contextmanager
def watched(
    model: Path, record: Path | None, *, first: bool = True, channels: tuple[str, ...] = ("BF",), **options: Any
) -> Iterator[Source]:
    """A session with a run and a warm engine: its first frame (t 0) is stained."""
    settings = parse_settings(**{"isolate": False, "fsync": False, **options})
    with Session(model, record, settings) as session, Source(session, channels=channels) as source:
        if first:
            session.wait(source.put(), PATIENCE_S)
        yield source
