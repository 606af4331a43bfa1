"""What is fixed before a training: the recipe and its size, and room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from livestain.errors import UserError
from livestain.train import need as needs
from livestain.train.config import TrainConfig
from livestain.train.data import Fields
from livestain.train.need import MIB, measure_need
from livestain.train.plan import fall_back, make_plan, read_plan, settle, work_folder
from livestain.train.recipes import find_recipe
from tests.train.pieces import QUICK, small_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    return small_fields(Path(tmp_path_factory.mktemp("fields")))


SETTLED: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "nothing given": ({}, "", {"recipe": "simulate", "width": 16, "learning_rate": 1e-3}),
    "the paper": ({"preset": "paper"}, "", {"recipe": "mvs-cyclegan", "width": 64, "crop_px": 512, "batch": 1}),
    "the paper in the file": ({}, 'preset = "paper"', {"recipe": "mvs-cyclegan", "width": 64}),
    "another recipe with a size": ({"preset": "paper", "recipe": "cyclegan"}, "", {"recipe": "cyclegan", "width": 64}),
    "the user's own over its size": ({"preset": "paper"}, "crop_px = 256", {"crop_px": 256, "width": 64}),
    "one option leaves the others": (
        {"preset": "paper"},
        "[options]\nmask_share = 0.5",
        {"options": {"resnet_blocks": 9.0, "mask_share": 0.5}},
    ),
    "a recipe's own values": ({"recipe": "gan"}, "", {"learning_rate": 5e-4, "width": 16}),
}


@pytest.mark.parametrize(("chosen", "text", "expected"), SETTLED.values(), ids=SETTLED.keys())
def test_settings_follow_from_preset_and_recipe(
    chosen: dict[str, Any], text: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    settled = settle(path, chosen)
    assert {name: getattr(settled, name) for name in expected} == expected


def test_the_preset_paper_is_refused_for_a_recipe_without_a_published_size() -> None:
    with pytest.raises(UserError, match=r"cyclegan, mvs-cyclegan, utom.*'gan' has none.*--preset standard"):
        settle(None, {"preset": "paper", "recipe": "gan"})


def test_stains_without_a_renderer_are_trained_by_gan_which_is_said_and_kept(fields: Fields, tmp_path: Path) -> None:
    actin, said = replace(fields, stains=("actin",)), list[str]()
    config = settle(None, {"steps": 6, "width": 2, "batch": 2, "crop_px": 32})
    plan = make_plan(config, actin, tmp_path / "model", said.append)
    assert (plan.config.recipe, plan.asked, plan.config.learning_rate) == ("gan", "simulate", 5e-4)
    assert list(plan.steps) == ["train"]
    assert "nuclei only, not actin: 'gan' is taken" in said[0]
    assert read_plan(config, actin, tmp_path / "model") == plan


def test_a_users_own_setting_stays_when_another_recipe_is_taken() -> None:
    taken = fall_back(TrainConfig(learning_rate=0.03), ("actin",))
    assert (taken.recipe, taken.learning_rate, taken.betas) == ("gan", 0.03, (0.5, 0.99))
    assert fall_back(TrainConfig(), ("nuclei",)).recipe == "simulate"


def test_time_memory_and_disk_are_said_before_the_start(fields: Fields, tmp_path: Path) -> None:
    said: list[str] = []
    make_plan(QUICK, fields, tmp_path / "model", said.append)
    for words in ("ms a step: teacher-0 12, teacher-1 12, student 12 steps", "MiB of memory (", "MiB of disk ("):
        assert words in said[-1]


TOO_LITTLE: dict[str, tuple[str, Callable[..., int], str]] = {
    "memory": ("free_memory_bytes", lambda: MIB // 8, r"needs \d+ MiB of memory, the machine has 0 MiB free.*crop_px"),
    "disk": ("free_disk_bytes", lambda folder: 3 * MIB, r"writes \d+ MiB beside .*, the disk has 3 MiB free.*--output"),
}


@pytest.mark.parametrize(("what", "free", "said"), TOO_LITTLE.values(), ids=TOO_LITTLE.keys())
def test_too_little_room_is_said_before_anything_is_written(
    what: str, free: Callable[..., int], said: str, fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, what, free)
    with pytest.raises(UserError, match=said):
        make_plan(QUICK, fields, tmp_path / "model", lambda _: None)
    assert not work_folder(tmp_path / "model").exists()


def test_a_gpu_that_is_full_is_found_before_the_start(fields: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5 * MIB, 80_000 * MIB))
    with pytest.raises(UserError, match="the GPU has 5 MiB free"):
        needs.require_memory(6 * MIB, QUICK.model_copy(update={"device": "auto"}))


def test_the_need_grows_with_the_area_of_a_crop_and_with_the_networks(
    fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "_TIMED_S", 0.0)  # two steps are enough here
    small = settle(None, {"recipe": "cyclegan", "width": 2, "batch": 2, "crop_px": 32})
    wide, large = small.model_copy(update={"width": 8}), small.model_copy(update={"crop_px": 128})
    one, four, wider = (measure_need(find_recipe("cyclegan"), config, fields) for config in (small, large, wide))
    assert 8 < four.memory_bytes / one.memory_bytes < 16
    assert wider.disk_bytes > 3 * one.disk_bytes
    assert one.step_s > 0
