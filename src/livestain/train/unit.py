"""The unit of contrast that the networks, the renderer and the recipes share.

A module of its own, since a network must open where the libraries that read images are not installed.
"""

UNIT = 0.25
"""Contrast of 8 median absolute deviations (times 1.4826): the unit of the renderer; 4 of them are clipped."""
