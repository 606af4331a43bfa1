"""What a window shows and how: layers with their controls, mode, place; no Qt. Owned by the GUI thread."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from psygnal import Signal

from livestain.frames import Counts
from livestain.view import kept
from livestain.view.picture import NO_STAIN_YET, LayerInfo, Picture

Mode = Literal["composite", "split", "curtain"]
MODES: tuple[Mode, ...] = ("composite", "split", "curtain")

log = logging.getLogger(__name__)

COLORS = {"green": "00E676", "magenta": "FF00FF", "azure": "0096FF", "orange": "FF8C00", "white": "FFFFFF"}
"""Colours offered for one layer, each bright enough on black."""

PALETTES: dict[str, tuple[str, ...]] = {
    "green + magenta": (COLORS["green"], COLORS["magenta"]),
    "azure + orange": (COLORS["azure"], COLORS["orange"]),
    "classic (not colour-blind safe)": ("0000FF", "FF00FF"),
}
"""Colours of nuclei and membrane, then of further stains in turn; the first two are safe for the colour-blind."""

AUTO_PERCENT = (0.1, 99.9)
"""Percentiles of a plane that "auto once" takes as limits."""

SAMPLES = 1 << 16
"""Of how many pixels at most percentiles and histograms are taken."""

UNDER_STAINS = 0.55
"""Opacity of the label-free layer to begin with: at full strength it washes the colours of stains on it out."""

GAMMA = (0.2, 5.0)
"""The range of the display's exponent."""


@dataclass(frozen=True, slots=True)
class LayerView:
    """How one layer is shown.

    Attributes
    ----------
    limits
        Values shown as black and as full colour, low < high.
    gamma
        Exponent of the display, 0.2..5: (v / full) ** gamma.
    opacity
        0..1, multiplies the colour (not of a label-free layer by itself: see `ViewState.opacity`).
    color
        Hexadecimal RGB.
    locked
        Limits stay as they are, also for "auto".
    """

    info: LayerInfo
    limits: tuple[float, float]
    color: str
    visible: bool = True
    opacity: float = 1.0
    gamma: float = 1.0
    locked: bool = False
    limits_set: bool = True
    """False until limits that were not known beforehand are chosen or taken from a first picture."""


@dataclass(frozen=True, slots=True)
class Pane:
    """One part of the window: the indices of the layers added up in it."""

    layers: tuple[int, ...]
    virtual: bool
    """Whether a virtual layer is among them that has a plane in the present picture: the pane then carries the mark."""
    caption: str
    unstained: str = ""
    """Where it would show virtual layers and none has a plane: why, in a few words."""


@dataclass(slots=True)
class _Shown:
    mode: Mode = "composite"
    curtain: float = 0.5
    frozen: bool = False
    alone: bool = False
    """Label-free alone, while B is held."""
    picture: Picture | None = None
    held: Picture | None = None
    """The newest picture kept back while frozen."""
    views: list[LayerView] = field(default_factory=list)


class ViewState:
    """The state of one window; every change is told by one of the events, and only real changes are.

    ``layer_changed(int)``: how a layer is shown; ``layout_changed()``: mode, curtain, label-free alone, which layers;
    ``picture_changed()``: the picture.
    """

    layer_changed = Signal(int)
    layout_changed = Signal()
    picture_changed = Signal()

    def __init__(self, layers: Sequence[LayerInfo]) -> None:
        self._shown = _Shown(views=[_first_view(info) for info in layers])

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def views(self) -> tuple[LayerView, ...]:
        """How each layer is shown, in the order of the feed."""
        return tuple(self._shown.views)

    @property
    def mode(self) -> Mode:
        """Composite (all layers added), split (two panes) or curtain (two pictures, one pane)."""
        return self._shown.mode

    @property
    def curtain(self) -> float:
        """Where the curtain hangs, 0..1 of the image's width on the screen."""
        return self._shown.curtain

    @property
    def alone(self) -> bool:
        """Whether only the label-free layer is shown, since B is held."""
        return self._shown.alone

    @property
    def frozen(self) -> bool:
        """Whether new pictures are kept back."""
        return self._shown.frozen

    @property
    def picture(self) -> Picture | None:
        """The picture shown."""
        return self._shown.picture

    @property
    def palette(self) -> str:
        """The palette whose colours the virtual layers have; empty when they have others, or there are none."""
        colors = tuple(view.color.upper() for view in self._shown.views if view.info.kind == "virtual")
        return next((name for name in PALETTES if colors and colors == _in_turn(name, len(colors))), "")

    def panes(self) -> tuple[Pane, ...]:
        """Return what is drawn: one pane, or two (split: beside each other; curtain: left and right of it).

        The first of two holds what was measured (label-free, and fluorescence if the run has it), the second the
        label-free and virtual layers.
        """
        shown = [i for i, view in enumerate(self._shown.views) if view.visible]
        kinds = [view.info.kind for view in self._shown.views]
        if self._shown.alone:
            return (self._pane([i for i, kind in enumerate(kinds) if kind == "label-free"]),)
        if self._shown.mode == "composite":
            return (self._pane(shown),)
        measured = [i for i in shown if kinds[i] != "virtual"]
        return (self._pane(measured), self._pane([i for i in shown if kinds[i] != "measured"]))

    def opacity(self, index: int) -> float:
        """Return the opacity of a layer; the label-free one is shown at full strength where nothing lies upon it.

        It is the same in both panes, so that they differ by what is added alone.
        """
        view = self._shown.views[index]
        covered = any(self.plane(i) is not None for pane in self.panes() for i in pane.layers if i != index)
        return view.opacity if covered or view.info.kind != "label-free" else 1.0

    # -- changing --------------------------------------------------------------------------------------------------

    def set_mode(self, mode: Mode) -> None:
        """Choose the mode."""
        self._set_layout("mode", mode)

    def set_curtain(self, share: float) -> None:
        """Move the curtain; clipped to 0..1."""
        self._set_layout("curtain", min(max(share, 0.0), 1.0))

    def set_alone(self, alone: bool) -> None:
        """Show the label-free layer alone, or all again."""
        self._set_layout("alone", alone)

    def set_frozen(self, frozen: bool) -> None:
        """Keep new pictures back, or show them again, beginning with the newest of those kept back."""
        self._set_layout("frozen", frozen)
        if not frozen and self._shown.held is not None:
            self.set_picture(self._shown.held)

    def set_layer(self, index: int, **changes: object) -> None:
        """Change how a layer is shown: any field of `LayerView` but ``info``; limits are refused while locked.

        Values are brought into their range (gamma 0.2..5, opacity 0..1, limits within 0..top and at least 1 apart).
        """
        if self._shown.views[index].locked and changes.get("locked", True):
            changes.pop("limits", None)
        if "limits" in changes:
            changes["limits_set"] = True
        self._put(index, replace(self._shown.views[index], **changes))  # type: ignore[arg-type]  # replace checks names

    def set_palette(self, name: str) -> None:
        """Give the virtual layers the colours of a palette, in turn."""
        virtual = [i for i, view in enumerate(self._shown.views) if view.info.kind == "virtual"]
        for index, color in zip(virtual, _in_turn(name, len(virtual)), strict=True):
            self.set_layer(index, color=color)

    def auto_once(self, index: int) -> None:
        """Set the limits of a layer from its plane in the present picture (`AUTO_PERCENT`)."""
        plane = self.plane(index)
        if plane is not None:
            self.set_layer(index, limits=auto_limits(plane))

    def reset_limits(self, index: int) -> None:
        """Go back to the limits that the source gives (the model's fixed range); auto where it gives none."""
        limits = self._shown.views[index].info.limits
        if limits is not None:
            self.set_layer(index, limits=limits)
        else:
            self.auto_once(index)

    def full_range(self, index: int) -> None:
        """Set the limits of a layer to all values that a pixel can have."""
        self.set_layer(index, limits=(0.0, float(self._shown.views[index].info.top)))

    def lock_all(self, locked: bool) -> None:
        """Lock or unlock the limits of every layer."""
        for index in range(len(self._shown.views)):
            self.set_layer(index, locked=locked)

    def set_picture(self, picture: Picture) -> None:
        """Show another picture; while frozen it is kept back, unless there was none before.

        The first plane of a layer that is not all one value sets limits that were not known beforehand, once.
        """
        if self._shown.frozen and self._shown.picture is not None:
            self._shown.held = picture
            return
        self._shown.picture, self._shown.held = picture, None
        for index, view in enumerate(self._shown.views):
            plane = None if view.limits_set else self.plane(index)
            if plane is not None and np.ptp(sample(plane)):
                self.auto_once(index)
        self.picture_changed.emit()

    def plane(self, index: int) -> Counts | None:
        """Return the plane of a layer in the present picture; None where there is none."""
        picture = self._shown.picture
        return picture.planes[index] if picture is not None and index < len(picture.planes) else None

    # -- between sessions ------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, object]:
        """Return what is worth keeping between sessions, fit for JSON; neither limits nor locks."""
        layers = {label: kept.fields_of(view) for label, view in zip(self._labels(), self._shown.views, strict=True)}
        return {"mode": self._shown.mode, "layers": layers}

    def restore(self, settings: Mapping[str, object]) -> None:
        """Take over what `settings` returned, in this or another window; layers are found by their labels.

        Layers that are not here are passed over. A value that is unknown or damaged is left out, named in the log; one
        beyond its range is brought into it.
        """
        mode = settings.get("mode", self._shown.mode)
        if mode in MODES:
            self.set_mode(mode)
        else:
            log.warning("kept display setting mode = %r is none of %s: ignored", mode, ", ".join(MODES))
        layers = settings.get("layers", {})
        for index, label in enumerate(self._labels()):
            values = layers.get(label, {}) if isinstance(layers, Mapping) else layers
            if isinstance(values, Mapping):
                self._put(index, replace(self._shown.views[index], **kept.parse_fields(label, values)))
            else:
                log.warning("kept display settings of layer %r are not usable: ignored", label)

    def _labels(self) -> list[str]:
        """The label of each layer; the second of two alike gets a number."""
        labels = [view.info.label for view in self._shown.views]
        counts = [labels[: i + 1].count(label) for i, label in enumerate(labels)]
        return [label if n == 1 else f"{label} ({n})" for label, n in zip(labels, counts, strict=True)]

    def _put(self, index: int, view: LayerView) -> None:
        before, after = self._shown.views[index], _legal(view)
        if after == before:
            return
        self._shown.views[index] = after
        self.layer_changed.emit(index)
        if after.visible != before.visible:
            self.layout_changed.emit()

    def _pane(self, layers: list[int]) -> Pane:
        views, picture = self._shown.views, self._shown.picture
        stains = [i for i in layers if views[i].info.kind == "virtual"]
        virtual = any(picture is None or self.plane(i) is not None for i in stains)
        unstained = ""
        if stains and not virtual and picture is not None:
            unstained = next((picture.states[i] for i in stains if i < len(picture.states)), "") or NO_STAIN_YET
        kinds = dict.fromkeys(views[i].info.kind for i in layers)
        return Pane(tuple(layers), virtual, " + ".join(kinds) or "nothing shown", unstained)

    def _set_layout(self, name: str, value: object) -> None:
        if getattr(self._shown, name) != value:
            setattr(self._shown, name, value)
            self.layout_changed.emit()


def sample(plane: Counts) -> Counts:
    """Return at most `SAMPLES` pixels of a (Y, X) plane on a regular grid, as a view of it."""
    step = max(1, math.ceil(math.sqrt(plane.size / SAMPLES)))
    few = plane[::step, ::step]
    return few if few.size <= SAMPLES else plane[:: step + 1, :: step + 1]


def auto_limits(plane: Counts) -> tuple[float, float]:
    """Return limits for a (Y, X) plane: the `AUTO_PERCENT` percentiles of its `sample`, at least 1 apart."""
    low, high = (float(value) for value in np.percentile(sample(plane), AUTO_PERCENT))
    return low, max(high, low + 1.0)


def _first_view(info: LayerInfo) -> LayerView:
    limits = info.limits or info.first
    opacity = UNDER_STAINS if info.kind == "label-free" else 1.0
    first = limits or (0.0, float(info.top))
    return _legal(LayerView(info, first, info.color, opacity=opacity, limits_set=limits is not None))


def _legal(view: LayerView) -> LayerView:
    top = float(view.info.top)
    low = min(max(float(view.limits[0]), 0.0), top - 1.0)
    high = min(max(float(view.limits[1]), low + 1.0), top)
    gamma, opacity = min(max(view.gamma, GAMMA[0]), GAMMA[1]), min(max(view.opacity, 0.0), 1.0)
    return replace(view, limits=(low, high), gamma=gamma, opacity=opacity)


def _in_turn(palette: str, count: int) -> tuple[str, ...]:
    colors = PALETTES[palette]
    return tuple(colors[i % len(colors)] for i in range(count))
