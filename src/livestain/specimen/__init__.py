"""Simulated living cells with truth."""

from livestain.specimen.camera import FLUORESCENCE_ELECTRONS, Camera, CameraSettings, illumination
from livestain.specimen.looks import ROSETTE, SHEET, SPINDLE, Look
from livestain.specimen.optics import Optics
from livestain.specimen.scene import Maps
from livestain.specimen.world import Specimen, prerender

__all__ = [
    "FLUORESCENCE_ELECTRONS",
    "ROSETTE",
    "SHEET",
    "SPINDLE",
    "Camera",
    "CameraSettings",
    "Look",
    "Maps",
    "Optics",
    "Specimen",
    "illumination",
    "prerender",
]
