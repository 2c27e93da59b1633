"""Detector responses: opened, and read when somebody needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skyfold_cosi.cosipy.spacecraftfile import SpacecraftFile
from skyfold_cosi.galactic import Detector, GalacticResponse, published_response
from skyfold_cosi.histogram import Histogram, histpy_axis, to_histpy
from skyfold_cosi.response_files import ResponseFile, open_response


class FullDetectorResponse:
    """A response in the frame of the detector. Made by `open`.

    Parameters
    ----------
    file
        The opened file.
    """

    def __init__(self, file: ResponseFile) -> None:
        self.file = file

    @classmethod
    def open(cls, filename: str | Path, *args: Any, **options: Any) -> FullDetectorResponse:
        """Open a response of any layout.

        Parameters
        ----------
        filename
            The file.
        args, options
            Not needed: what text files leave out is found in them or asked for.

        Raises
        ------
        FileError, DataError
            If the file holds no response.
        """
        del args, options
        return cls(open_response(filename))

    @property
    def axes(self) -> Any:
        """Axes NuLambda, Ei, Em, Phi and PsiChi, of histpy."""
        from histpy import Axes

        return Axes([histpy_axis(axis) for axis in self.file.axes])

    @property
    def unit(self) -> Any:
        """Unit of the contents."""
        from astropy import units as u

        return u.Unit(self.file.unit)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.file.axes)

    @property
    def nside(self) -> int:
        """HEALPix resolution of NuLambda."""
        nside = self.file["NuLambda"].nside
        assert nside is not None
        return nside

    @property
    def npix(self) -> int:
        """Number of pixels of NuLambda."""
        return self.file["NuLambda"].size

    @property
    def filename(self) -> Path | None:
        """The file."""
        return self.file.path

    def to_histogram(self) -> Any:
        """Read the whole response, as a histpy histogram."""
        return to_histpy(self.file.load())

    def get_extended_source_response(
        self,
        orientation: SpacecraftFile,
        coordsys: str = "galactic",
        nside_image: int | None = None,
        nside_scatt_map: int | None = None,
        Earth_occ: bool = True,
    ) -> Any:
        """Return the response of the whole sky for an orientation, as published.

        Parameters
        ----------
        orientation
            Where the instrument pointed.
        coordsys
            Frame of the sky: only ``galactic``.
        nside_image
            Resolution of the sky; the detector's by default.
        nside_scatt_map
            Resolution of the bins of attitude; the detector's by default.
        Earth_occ
            Whether what is behind the Earth is not seen.

        Returns
        -------
        Histogram of histpy
            Axes NuLambda, Ei, Em, Phi, PsiChi; in cm2 s.
        """
        made = self._galactic(orientation, coordsys, nside_image, nside_scatt_map, Earth_occ)
        contents = np.concatenate([slab for _, slab in made])
        shape = tuple(axis.size for axis in made.axes)
        return to_histpy(Histogram(made.axes, contents.reshape(shape), "cm2 s"))

    def get_point_source_response_per_image_pixel(
        self,
        ipix_image: int,
        orientation: SpacecraftFile,
        coordsys: str = "galactic",
        nside_image: int | None = None,
        nside_scatt_map: int | None = None,
        Earth_occ: bool = True,
    ) -> Any:
        """Return the response of one pixel of the sky; see `get_extended_source_response`.

        Parameters
        ----------
        ipix_image
            The pixel, in RING order.
        orientation, coordsys, nside_image, nside_scatt_map, Earth_occ
            As for the whole sky.

        Returns
        -------
        Histogram of histpy
            Axes Ei, Em, Phi, PsiChi; in cm2 s.
        """
        from skyfold_responses.attitude import pixel_centres

        made = self._galactic(orientation, coordsys, nside_image, nside_scatt_map, Earth_occ)
        one = made.at(pixel_centres(made.nside)[[ipix_image]])[0]
        return to_histpy(Histogram(made.axes[1:], one, "cm2 s"))

    def _galactic(
        self,
        orientation: SpacecraftFile,
        coordsys: str,
        nside_image: int | None,
        nside_attitude: int | None,
        occultation: bool,
    ) -> GalacticResponse:
        if coordsys != "galactic":
            raise ValueError(f"coordsys: only 'galactic' is known, not {coordsys!r}")
        return published_response(
            Detector.from_histogram(self.file.load()),
            orientation.orientation,
            nside_image,
            nside_attitude=nside_attitude,
            occultation=occultation,
        )
