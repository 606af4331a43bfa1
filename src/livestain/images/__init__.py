"""What lies on disk as images."""

from livestain.images.facts import Axes, Kind
from livestain.images.imageset import ImageSet
from livestain.images.opening import open_images

__all__ = ["Axes", "ImageSet", "Kind", "open_images"]
