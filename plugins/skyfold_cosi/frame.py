"""The frame of the detector, known to astropy and thus to histpy by its name in the files."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def spacecraft_frame() -> Any:
    """Return the frame ``spacecraftframe``: that of scoords where it is installed, or our own.

    Longitude is the azimuth from the x axis, latitude is counted from the x-y plane. Where the axes
    point is not part of it.
    """
    try:
        from scoords import SpacecraftFrame  # type: ignore[import-not-found]
    except ImportError:
        return _made()
    return SpacecraftFrame


def _made() -> Any:
    import numpy as np
    from astropy.coordinates import (
        BaseCoordinateFrame,
        SphericalRepresentation,
        StaticMatrixTransform,
        frame_transform_graph,
    )

    class SpacecraftFrame(BaseCoordinateFrame):  # type: ignore[misc]
        """Axes of the detector."""

        name = "spacecraftframe"
        default_representation = SphericalRepresentation

    # astropy looks names up among frames that take part in a transformation
    itself = StaticMatrixTransform(np.eye(3), SpacecraftFrame, SpacecraftFrame)
    itself.register(frame_transform_graph)
    return SpacecraftFrame
