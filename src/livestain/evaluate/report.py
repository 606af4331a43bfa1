"""The report: one HTML file with tables and pictures, complete in itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from livestain.errors import UserError, plain
from livestain.evaluate.compare import Comparison, Result
from livestain.evaluate.judge import Judge
from livestain.evaluate.panels import Panel, draw_panels
from livestain.evaluate.tables import Sheet, sheets

FIELDS_SHOWN = 6
_COLOR = "00E676"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
td:nth-child(2) { font-weight: 600; } .facts td { text-align: left; font-weight: 400; vertical-align: top; }
.panels { display: flex; flex-wrap: wrap; gap: .7rem; margin-bottom: 1.5rem; }
figure { margin: 0; width: 15rem; } figure img { width: 100%; image-rendering: pixelated; }
figcaption { font-size: 12px; color: #555; } .note { background: #fff3cd; padding: .4rem .8rem; margin: .4rem 0; }
.wide { overflow-x: auto; }
"""
_MEANING = (
    ("Pearson r", "whether bright is where it should be; knows nothing of gain and offset. 0 for a constant."),
    ("PSNR, RMSE, MAE", "differences on the scale of the set's truth (0.1 and 99.9 percentiles become 0 and 1). "
     "In a mostly dark field a black image scores well: read them beside the row “constant”."),
    ("gain matched", "the same after the best gain and offset for each image: what is left is not calibration."),
    ("SSIM, FSIM, VIFp", "structure. SSIM is high on empty background; an FSIM of 0.57 is what cells in wrong places "
     "give; an unrelated image of the same cells has a VIFp of about 0.01."),
    ("LPIPS", "how different the two look to AlexNet; less is better. n/a without its weights."),
    ("AP@0.5, F1", "objects matched at an intersection over union of 0.5; depends on the segmenter as well."),
    ("[low, high]", "95 % interval over positions (10,000 draws of whole fields); none below 5 positions."),
    ("constant, inverted, local energy, shuffled", "what costs nothing: the set's mean; the label-free image inverted; "
     "its local contrast; the measured stain of another field. The middle two got gain and offset from the truth."),
)  # fmt: skip


def write_report(
    path: Path,
    judge: Judge,
    comparison: Comparison,
    provenance: Mapping[str, object],
    colors: Mapping[str, str],
) -> Path:
    """Write the report and return its path; blocks, since the fields shown are predicted again.

    Parameters
    ----------
    path
        An ``.html`` file; replaced where it exists.
    judge, comparison
        What was compared, and its outcome.
    provenance
        What to say of where this comes from: names and values.
    colors
        Stain -> hexadecimal RGB of the virtual stain.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    text = "\n".join(_page(judge, comparison, provenance, colors))
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"report {path} cannot be written ({plain(error)}): give another --output") from error
    return path


def choose_fields(comparison: Comparison, stain: str, count: int = FIELDS_SHOWN) -> list[Result]:
    """Return results of the judged predictor from the lowest r to the highest, evenly spaced: no choice of the best."""
    ours = [result for result in comparison.results if result.stain == stain]
    ranked = sorted(
        (result for result in ours if result.predictor == comparison.predictor and np.isfinite(result.values["r"])),
        key=lambda result: result.values["r"],
    )
    places = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)) if ranked else ()
    return [ranked[place] for place in places]


def _page(
    judge: Judge, comparison: Comparison, provenance: Mapping[str, object], colors: Mapping[str, str]
) -> Iterator[str]:  # fmt: skip
    title = f"{comparison.predictor}: virtual against measured"
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in comparison.notes)
    for sheet in sheets(comparison):
        yield from _table(sheet)
    for stain in comparison.stains:
        yield f"<h2>{escape(stain)}: fields from the lowest r to the highest</h2>"
        for result in choose_fields(comparison, stain):
            yield f"<p>{escape(result.image)}: r {result.values['r']:.3f}</p>"
            yield from _figures(draw_panels(judge.look(result), colors.get(stain, _COLOR)))
    yield from _pairs_table("What the numbers mean", _MEANING)
    yield from _pairs_table("Where this comes from", [(name, str(value)) for name, value in provenance.items()])
    yield "</body></html>"


def _table(sheet: Sheet) -> Iterator[str]:
    yield f'<h2>{escape(sheet.title)}</h2>\n<div class="wide"><table><thead>'
    yield _row(sheet.headings, "th")
    yield "</thead><tbody>"
    yield from (_row(row, "td") for row in sheet.rows)
    yield "</tbody></table></div>"


def _pairs_table(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f'<h2>{escape(title)}</h2>\n<table class="facts"><tbody>'
    for name, text in rows:
        yield f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
    yield "</tbody></table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _figures(panels: Sequence[Panel]) -> Iterator[str]:
    yield '<div class="panels">'
    for panel in panels:
        data = base64.b64encode(panel.png).decode("ascii")
        caption = escape(panel.caption)
        yield f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        yield f"<figcaption>{caption}</figcaption></figure>"
    yield "</div>"
