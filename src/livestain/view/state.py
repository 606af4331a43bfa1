"""What a window shows and how: layers with their controls, mode, place; no Qt. Owned by the GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from psygnal import Signal

from livestain.frames import Counts
from livestain.view.picture import LayerInfo, Picture

Mode = Literal["composite", "split", "curtain"]
MODES: tuple[Mode, ...] = ("composite", "split", "curtain")

PALETTES: dict[str, tuple[str, ...]] = {
    "green + magenta": ("00E676", "FF00FF"),
    "azure + orange": ("0096FF", "FF8C00"),
    "classic blue (not colour-blind safe)": ("0000FF", "FF00FF"),
}
"""Colours of nuclei and membrane, then of further stains in turn; the first two are safe for the colour-blind."""

AUTO_PERCENT = (0.1, 99.9)
"""Percentiles of a plane that "auto once" takes as limits."""

_SAMPLES = 1 << 16


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
        0..1, multiplies the colour.
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
    """False until limits that were not known beforehand are taken from a first picture."""


@dataclass(frozen=True, slots=True)
class Pane:
    """One part of the window: the indices of the layers added up in it."""

    layers: tuple[int, ...]
    virtual: bool
    """Whether a virtual layer is among them: the pane then carries the mark."""
    caption: str


@dataclass(slots=True)
class _Shown:
    mode: Mode = "composite"
    curtain: float = 0.5
    frozen: bool = False
    alone: bool = False
    """Label-free alone, while B is held."""
    picture: Picture | None = None
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
        """Keep new pictures back, or not."""
        self._set_layout("frozen", frozen)

    def set_layer(self, index: int, **changes: object) -> None:
        """Change how a layer is shown: any field of `LayerView` but ``info``; limits are refused while locked.

        Values are brought into their range (gamma 0.2..5, opacity 0..1, limits within 0..top and at least 1 apart).
        """
        before = self._shown.views[index]
        if before.locked and "limits" in changes and changes.get("locked", True):
            changes.pop("limits")
        after = _legal(replace(before, **changes))  # type: ignore[arg-type]  # names are checked by replace
        if after == before:
            return
        self._shown.views[index] = after
        self.layer_changed.emit(index)
        if after.visible != before.visible:
            self.layout_changed.emit()

    def set_palette(self, name: str) -> None:
        """Give the virtual layers the colours of a palette, in turn."""
        colors = PALETTES[name]
        virtual = [i for i, view in enumerate(self._shown.views) if view.info.kind == "virtual"]
        for place, index in enumerate(virtual):
            self.set_layer(index, color=colors[place % len(colors)])

    def auto_once(self, index: int) -> None:
        """Set the limits of a layer from its plane in the present picture (`AUTO_PERCENT`)."""
        plane = self.plane(index)
        if plane is not None:
            self.set_layer(index, limits=auto_limits(plane), limits_set=True)

    def reset_limits(self, index: int) -> None:
        """Go back to the limits that the source gives (the model's fixed range); auto where it gives none."""
        limits = self._shown.views[index].info.limits
        if limits is not None:
            self.set_layer(index, limits=limits)
        else:
            self.auto_once(index)

    def lock_all(self, locked: bool) -> None:
        """Lock or unlock the limits of every layer."""
        for index in range(len(self._shown.views)):
            self.set_layer(index, locked=locked)

    def set_picture(self, picture: Picture) -> None:
        """Show another picture; the first with a plane sets limits that were not known beforehand, once."""
        self._shown.picture = picture
        for index, view in enumerate(self._shown.views):
            if not view.limits_set and self.plane(index) is not None:
                self.auto_once(index)
        self.picture_changed.emit()

    def plane(self, index: int) -> Counts | None:
        """Return the plane of a layer in the present picture; None where there is none."""
        picture = self._shown.picture
        return picture.planes[index] if picture is not None and index < len(picture.planes) else None

    def _pane(self, layers: list[int]) -> Pane:
        views = self._shown.views
        virtual = any(views[i].info.kind == "virtual" for i in layers)
        kinds = dict.fromkeys(views[i].info.kind for i in layers)
        return Pane(tuple(layers), virtual, " + ".join(kinds) or "nothing shown")

    def _set_layout(self, name: str, value: object) -> None:
        if getattr(self._shown, name) != value:
            setattr(self._shown, name, value)
            self.layout_changed.emit()


def auto_limits(plane: Counts) -> tuple[float, float]:
    """Return limits for a (Y, X) plane: its `AUTO_PERCENT` percentiles of at most 65536 pixels on a regular grid."""
    step = max(1, int(np.ceil(np.sqrt(plane.size / _SAMPLES))))
    low, high = (float(value) for value in np.percentile(plane[::step, ::step], AUTO_PERCENT))
    return low, max(high, low + 1.0)


def _first_view(info: LayerInfo) -> LayerView:
    known = info.limits is not None
    return LayerView(info, info.limits or (0.0, float(info.top)), info.color, limits_set=known)


def _legal(view: LayerView) -> LayerView:
    top = float(view.info.top)
    low = min(max(float(view.limits[0]), 0.0), top - 1.0)
    high = min(max(float(view.limits[1]), low + 1.0), top)
    gamma, opacity = min(max(view.gamma, 0.2), 5.0), min(max(view.opacity, 0.0), 1.0)
    return replace(view, limits=(low, high), gamma=gamma, opacity=opacity)
