"""``livestain evaluate``: virtual stains against measured ones."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livestain.cli.options import BackendName
from livestain.errors import UserError, plain

if TYPE_CHECKING:
    from livestain.evaluate.compare import Comparison
    from livestain.evaluate.judge import Judge, ObjectRule
    from livestain.evaluate.pairs import Pair
    from livestain.evaluate.predictors import Predictor
    from livestain.evaluate.segment import Segmenter

SegmentBy = Literal["otsu", "cellpose", "masks"]


@dataclass(frozen=True)
class _Case:
    """What is judged, on what, and what to say of it."""

    pairs: list[Pair]
    predictor: Predictor
    facts: dict[str, object]
    colors: dict[str, str] = field(default_factory=dict)


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Model folder, or the name of a shipped model.", show_default=False)
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Folder or CSV of label-free images with measured stains.", show_default=False),
    ] = None,
    prediction: Annotated[
        Path | None, typer.Option(help="Virtual stains that exist already: file or folder.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run with measured and virtual channels.", show_default=False)
    ] = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(
            help="Measured stain: file or folder (with --prediction), CHANNEL or STAIN=CHANNEL (with --run).",
            show_default=False,
        ),
    ] = None,
    segment: Annotated[
        SegmentBy | None,
        typer.Option(help="Compare objects, too: masks are given ones against otsu.", show_default="no objects"),
    ] = None,
    segment_input: Annotated[
        bool, typer.Option("--segment-input", help="Also segment the label-free image, with the same parameters.")
    ] = False,
    cellpose_weights: Annotated[
        Path | None, typer.Option(help="Weights of a Cellpose 3 model, for --segment cellpose.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Report to write, as report.html; its figures beside it, as report.json.")
    ] = None,
    backend: BackendName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON on stdout.")] = False,
) -> int:
    """Compare virtual stains with measured ones: images, objects, baselines, intervals over fields."""
    _require_one_question(model, pairs, prediction, run, truth)
    _require_output(output)
    from livestain.evaluate.judge import Judge
    from livestain.evaluate.lpips import Lpips, load_lpips
    from livestain.evaluate.tables import to_document

    rule = _object_rule(segment, segment_input, cellpose_weights)
    network = load_lpips()
    with ExitStack() as stack:
        if model is not None and pairs is not None:
            case = _model_case(stack, model, pairs, backend)
        elif prediction is not None:
            case = _sets_case(prediction, truth or [])
        else:
            case = _run_case(run, truth or [])
        judge = Judge(
            case.pairs, case.predictor, objects=rule, lpips=network if isinstance(network, Lpips) else None
        )  # fmt: skip
        if isinstance(network, str):
            typer.echo(f"note: LPIPS is n/a: {network}", err=True)
        positions = {(pair.group, pair.position) for pair in case.pairs}
        typer.echo(f"comparing {len(case.pairs)} images of {len(positions)} positions", err=True)
        comparison = judge.run(_show_progress)
        facts = _provenance(case, rule, network if isinstance(network, str) else "alex, v0.1")
        document = json.dumps(to_document(comparison, facts), indent=1, allow_nan=False)
        _print(comparison, document, as_json=as_json)
        if output is not None:
            _write(output, judge, comparison, facts, case.colors, document)
    return 0


def _require_one_question(
    model: str | None, pairs: Path | None, prediction: Path | None, run: Path | None, truth: list[str] | None
) -> None:
    asked = [model is not None and pairs is not None, prediction is not None, run is not None]
    if sum(asked) != 1 or (model is None) != (pairs is None):
        raise UserError(
            "give either MODEL --pairs PATH, or --prediction PATH --truth PATH, or --run RUN --truth CHANNEL"
        )
    if asked[0] and truth:
        raise UserError("--truth is for --prediction and --run: with --pairs the measured stains are in PATH")
    if not asked[0] and not truth:
        raise UserError(f"{'--prediction' if asked[1] else '--run'} needs --truth: what was measured")
    if asked[1] and truth is not None and len(truth) > 1:
        raise UserError(f"--prediction needs one --truth, {len(truth)} were given")


def _require_output(output: Path | None) -> None:
    if output is not None and output.suffix.lower() != ".html":
        raise UserError(f"--output {output} is not possible: a name that ends in .html")
    if output is not None and not output.parent.is_dir():
        raise UserError(f"folder {output.parent} does not exist: make it, or choose another")


def _object_rule(segment: SegmentBy | None, segment_input: bool, weights: Path | None) -> ObjectRule | None:
    from livestain.evaluate.judge import ObjectRule
    from livestain.evaluate.segment import CellposeSegmenter, OtsuSegmenter, require_scikit_image

    if segment is None and segment_input:
        raise UserError("--segment-input needs --segment otsu, cellpose or masks")
    if segment != "cellpose" and weights is not None:
        raise UserError("--cellpose-weights is for --segment cellpose")
    if segment is None:
        return None
    if segment == "cellpose" and weights is None:
        raise UserError("--segment cellpose needs --cellpose-weights FILE: a Cellpose 3 model of yours")
    require_scikit_image()
    segmenter: Segmenter = OtsuSegmenter() if weights is None else CellposeSegmenter(weights)
    return ObjectRule(segmenter, masks=segment == "masks", segment_input=segment_input)


def _model_case(stack: ExitStack, model: str, path: Path, backend: BackendName) -> _Case:
    from livestain.engine.opening import open_engine
    from livestain.evaluate.pairs import read_pairs
    from livestain.evaluate.predictors import ModelPredictor
    from livestain.model import read_model

    opened = read_model(model)
    pairs = read_pairs(path, opened.stains)
    engine = stack.enter_context(open_engine(opened.folder, backend))
    facts: dict[str, object] = {
        "model": f"{opened.name} ({opened.id}), sha256 {opened.weights_sha256}",
        "licence": opened.license or "not stated",
        "caution": opened.card.caution or "none",
        "engine": f"{engine.info.backend} {engine.info.version} {engine.info.precision} on {engine.info.device}",
        "pairs": str(path),
    }
    return _Case(pairs, ModelPredictor(engine), facts, {stain.name: stain.color for stain in opened.card.stains})


def _sets_case(prediction: Path, truth: list[str]) -> _Case:
    from livestain.evaluate.predictors import StoredPredictor
    from livestain.evaluate.sets import pair_sets

    pairs, ours = pair_sets(prediction, Path(truth[0]))
    scale = "0..65535 = 0..1 (livestain's)" if ours else "that of the truth"
    facts: dict[str, object] = {"prediction": str(prediction), "truth": truth[0], "scale of the prediction": scale}
    return _Case(pairs, StoredPredictor(prediction.name, ours), facts)


def _run_case(run: Path | None, truth: list[str]) -> _Case:
    from livestain.evaluate.predictors import StoredPredictor
    from livestain.evaluate.sets import pair_run

    if run is None:
        raise UserError("--run is missing")
    pairs = pair_run(run, truth)
    return _Case(pairs, StoredPredictor(run.name, ours=True), {"run": str(run), "truth": ", ".join(truth)})


def _provenance(case: _Case, rule: ObjectRule | None, lpips: str) -> dict[str, object]:
    from livestain import __version__

    objects = "not compared"
    if rule is not None:
        objects = f"{rule.segmenter.words}; measured ones: {'given masks' if rule.masks else 'same segmenter'}"
    positions = {(pair.group, pair.position) for pair in case.pairs}
    return case.facts | {
        "images": f"{len(case.pairs)} of {len(positions)} positions",
        "objects": objects,
        "LPIPS": lpips,
        "livestain": __version__,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{done} of {total} images", err=True, nl=done == total)


def _print(comparison: Comparison, document: str, *, as_json: bool) -> None:
    for note in comparison.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(document)
        return
    from rich.console import Console
    from rich.table import Table

    from livestain.evaluate.tables import sheets

    console = Console(highlight=False)
    for sheet in sheets(comparison):
        table = Table(title=sheet.title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for number, heading in enumerate(sheet.headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        console.print()


def _write(
    output: Path, judge: Judge, comparison: Comparison, facts: dict[str, object], colors: dict[str, str], document: str
) -> None:
    from livestain.evaluate.report import write_report

    beside = output.with_suffix(".json")
    try:
        beside.write_text(document + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{beside} cannot be written ({plain(error)}): give another --output") from error
    write_report(output, judge, comparison, facts, colors)
    typer.echo(f"report: {output}", err=True)
