"""The comparison: means over positions, intervals, baselines, objects, notes; and the report of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from livestain.errors import ImageError, UserError
from livestain.evaluate.baselines import FILTERS, fit
from livestain.evaluate.interval import estimate
from livestain.evaluate.judge import LABEL_FREE, Judge, ObjectRule
from livestain.evaluate.lpips import Lpips
from livestain.evaluate.metrics import Plane, pearson_r
from livestain.evaluate.pairs import read_pairs
from livestain.evaluate.registration import measure_shift
from livestain.evaluate.report import choose_fields, write_report
from livestain.evaluate.segment import OtsuSegmenter
from livestain.evaluate.tables import NOT_AVAILABLE, in_words, sheets, to_document
from tests.evaluate.pieces import Formula, field, pair, values_of, write_folder

SAME = Formula(lambda truth: truth)
DARK = Formula(lambda truth: 0 * truth)


def rough(amount: float) -> Callable[[Plane], Plane]:
    return lambda truth: truth + np.random.default_rng(9).normal(0, amount, truth.shape)


def test_the_interval_has_its_reference_values() -> None:
    found = estimate([0.61, 0.55, 0.70, 0.42, 0.66, 0.58, 0.49, 0.73])
    assert (found.mean, found.low, found.high) == pytest.approx((0.5925, 0.52125, 0.66), abs=1e-12)
    assert found.positions == 8


def test_below_five_positions_there_is_no_interval() -> None:
    found = estimate([0.1, 0.2, 0.3, math.nan, 0.4])
    assert found.mean == pytest.approx(0.25)
    assert (found.low, found.high, found.positions) == (None, None, 4)
    assert in_words(found, 2) == "0.25"
    assert in_words(estimate([math.nan]), 2) == NOT_AVAILABLE


def test_images_of_one_position_count_once() -> None:
    one, two, three = pair(0, position="a"), pair(1, position="a"), pair(2, position="b")
    predictor = Formula(rough(0.3))
    comparison = Judge([one, two, three], predictor).run()
    first, second, third = (values["r"] for values in values_of(comparison.results, predictor="formula"))
    found = comparison.mean("nuclei", "formula", "r")
    assert found.mean == pytest.approx(((first + second) / 2 + third) / 2)
    assert found.positions == 2


def test_equal_names_in_two_groups_are_two_positions() -> None:
    pairs = [pair(0, position="p", group="x"), pair(1, position="p", group="y")]
    comparison = Judge(pairs, SAME).run()
    assert comparison.groups == ("x", "y")
    assert comparison.mean("nuclei", "formula", "r").positions == 2
    assert comparison.mean("nuclei", "formula", "r", "y").positions == 1


def test_the_truth_itself_wins_and_the_baselines_do_not() -> None:
    comparison = Judge([pair(seed) for seed in range(5)], SAME).run()
    r = {name: comparison.mean("nuclei", name, "r").mean for name in comparison.predictors}
    assert r["formula"] == pytest.approx(1)
    assert r["constant"] == 0
    assert abs(r["inverted"]) < 0.1
    assert 0.4 < r["local energy"] < 0.9
    assert r["shuffled"] < 0.7
    gained = comparison.difference("nuclei", "local energy", "r")
    assert gained.mean == pytest.approx(1 - r["local energy"])
    assert gained.low is not None
    assert gained.low > 0


def test_a_stain_on_the_wrong_scale_is_not_repaired() -> None:
    comparison = Judge([pair(0)], Formula(lambda truth: 0.5 * truth)).run()
    values = values_of(comparison.results, predictor="formula")[0]
    assert values["r"] == pytest.approx(1)
    assert values["psnr"] < 30 < values["psnr_gain"]


def test_a_black_stain_scores_zero_in_r_whatever_its_psnr() -> None:
    values = values_of(Judge([pair(0)], DARK).run().results, predictor="formula")[0]
    assert values["r"] == 0
    assert values["psnr"] > 8


def test_shuffled_takes_another_position_and_turns_the_only_one() -> None:
    alone = Judge([pair(0, position="a"), pair(0, position="a")], SAME).run()
    turned = values_of(alone.results, predictor="shuffled")[0]["r"]
    stain = field(0)[1]
    assert turned == pytest.approx(pearson_r(stain[::-1, ::-1], stain))
    shuffled = values_of(Judge([pair(0), pair(1)], SAME).run().results, predictor="shuffled")
    assert shuffled[0]["r"] == pytest.approx(pearson_r(field(1)[1], stain))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_fitted_filter_keeps_its_r(name: str, sign: int) -> None:
    label_free = field(4)[0]
    filtered = FILTERS[name](label_free)
    truth = sign * filtered + np.random.default_rng(0).normal(0, 20, filtered.shape)
    gain, offset = fit([(filtered, truth)])
    assert pearson_r(gain * filtered + offset, truth) == pytest.approx(pearson_r(filtered, truth), abs=1e-6)
    if sign == 1:
        assert gain == pytest.approx(1, abs=0.1)


@pytest.mark.real_data
def test_the_baselines_of_the_real_test_images_are_those_of_their_readme(real_data: Path) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for one in read_pairs(real_data / "nuclei_bf" / "test", ("nuclei",)):
        assert one.label_free is not None
        image, truth = one.label_free(), one.truth["nuclei"]()
        for name, of in FILTERS.items():
            group = found.setdefault(name, {}).setdefault(one.name.split("_")[0], [])
            group.append(pearson_r(of(image), truth))
    every = {name: np.mean([r for group in groups.values() for r in group]) for name, groups in found.items()}
    assert every == pytest.approx({"local energy": 0.511, "inverted": 0.003}, abs=5e-4)
    readme = {"181024TK20": 0.629, "210930MA20": 0.562, "220524DS30": 0.336, "200313SK20": 0.440}
    readme |= {"210824YZ12": 0.255, "170601SH11": 0.598}
    assert {name: np.mean(r) for name, r in found["local energy"].items()} == pytest.approx(readme, abs=5e-4)


RULES = {"given masks": True, "the measured stain segmented": False}


@pytest.mark.parametrize("masks", RULES.values(), ids=RULES.keys())
def test_objects_of_the_truth_itself_are_found(masks: bool) -> None:
    judge = Judge([pair(0), pair(1)], SAME, objects=ObjectRule(OtsuSegmenter(), masks=masks, segment_input=True))
    comparison = judge.run()
    for values in values_of(comparison.results, predictor="formula"):
        assert values["objects"] == 8
        assert values["ap50"] > 0.8
        assert values["object_r"] == pytest.approx(1)
    of_input = values_of(comparison.results, predictor=LABEL_FREE)
    assert len(of_input) == 2
    assert all(values["ap50"] < 0.5 and "psnr" not in values for values in of_input)
    assert all("ap50" not in values for values in values_of(comparison.results, predictor="constant"))


def test_masks_that_are_asked_for_and_missing_are_named(tmp_path: Path) -> None:
    pairs = read_pairs(write_folder(tmp_path, masks=False), ("nuclei",))
    with pytest.raises(ImageError, match="pair f0_bf has no mask"):
        Judge(pairs, SAME, objects=ObjectRule(OtsuSegmenter(), masks=True))


def test_a_shift_is_measured_over_many_images_and_said() -> None:
    planes = [field(seed)[:2] for seed in range(4)]
    moved = [(label_free, np.roll(stain, (6, -9), (0, 1))) for label_free, stain in planes]
    assert measure_shift(moved[:2]) is None
    still = measure_shift(planes)
    assert still is not None
    assert max(map(abs, still)) <= 1
    assert measure_shift(moved) == pytest.approx((6, -9), abs=1)


def test_misregistered_pairs_are_said_in_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livestain.evaluate.judge.measure_shift", lambda pairs: (5, 0))
    (note,) = Judge([pair(0, group="day 1")], SAME).run().notes
    assert note.startswith("measured nuclei of day 1 lies 5 px below and 0 px right of the label-free images")


def test_progress_ends_at_the_number_of_pairs() -> None:
    seen: list[tuple[int, int]] = []
    Judge([pair(0), pair(1)], SAME).run(lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]


def tiny_lpips() -> Lpips:
    rng = np.random.default_rng(0)
    sides, widths = (11, 5, 3, 3, 3), (3, 4, 4, 4, 4, 4)
    tensors = {}
    for i, side in enumerate(sides):
        tensors[f"conv{i}.kernel"] = rng.normal(0, 0.3, (side, side, widths[i], 4)).astype(np.float32)
        tensors[f"conv{i}.bias"] = np.zeros(4, np.float32)
        tensors[f"head{i}"] = np.ones(4, np.float32)
    return Lpips(tensors)


def test_lpips_is_there_with_weights_and_not_available_without() -> None:
    with_weights = Judge([pair(0)], SAME, lpips=tiny_lpips()).run()
    assert values_of(with_weights.results, predictor="formula")[0]["lpips"] == 0
    assert values_of(with_weights.results, predictor="shuffled")[0]["lpips"] > 0
    without = Judge([pair(0)], SAME).run()
    rows = {row[0]: row[1:] for row in next(sheets(without)).rows}
    assert set(rows["LPIPS (less is better)"]) == {NOT_AVAILABLE}


def test_the_document_is_json_without_nan() -> None:
    comparison = Judge([pair(seed) for seed in range(5)], DARK, objects=ObjectRule(OtsuSegmenter())).run()
    document = to_document(comparison, {"model": "none"})
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["means"]["nuclei"]["formula"]["r"]["mean"] == 0
    assert document["means"]["nuclei"]["formula"]["iou"]["mean"] is None
    assert len(document["images"]) == 5 * len(comparison.predictors)


class Page(HTMLParser):
    """What a browser would have to fetch, and what the page says."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_one_whole_file(tmp_path: Path) -> None:
    pairs = [pair(seed, group="<day>") for seed in range(8)]
    judge = Judge(pairs, Formula(rough(0.2)), objects=ObjectRule(OtsuSegmenter()))
    comparison = judge.run()
    path = write_report(tmp_path / "r.html", judge, comparison, {"model": "a & b"}, {"nuclei": "00E676"})
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert len(page.sources) == 6 * 5
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "day"} & set(page.tags)
    for words in ("measured: nuclei", "virtual: nuclei", "a & b", "Pearson r", "local energy", "What the numbers mean"):
        assert words in page.text
    shown = [result.values["r"] for result in choose_fields(comparison, "nuclei")]
    every = sorted(values["r"] for values in values_of(comparison.results, predictor="formula"))
    assert (shown[0], shown[-1]) == (every[0], every[-1])


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    judge = Judge([pair(0)], SAME)
    with pytest.raises(UserError, match="give another --output"):
        write_report(tmp_path / "nothing" / "r.html", judge, judge.run(), {}, {})
