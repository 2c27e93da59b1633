"""Coordinate conversion matrices as histpy histograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from histpy import Histogram

from skyfold_cosi import histogram
from skyfold_cosi.conversion import conversion_histogram
from skyfold_cosi.cosipy.exposure import SpacecraftAttitudeExposureTable
from skyfold_cosi.cosipy.response import FullDetectorResponse
from skyfold_cosi.cosipy.spacecraftfile import SpacecraftFile
from skyfold_cosi.exposure import by_time
from skyfold_cosi.histogram import to_histpy
from skyfold_cosi.response_files import read_conversion


class CoordsysConversionMatrix(Histogram):  # type: ignore[misc]
    """For how long each pixel of the sky stayed in each pixel of the detector, in seconds.

    A sparse histogram on the axes Time or ScAtt, lb and NuLambda.

    Parameters
    ----------
    args, options
        As for a histogram of histpy.
    binning_method
        ``Time`` or ``ScAtt``; by default the label of the first axis.
    """

    def __init__(self, *args: Any, binning_method: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.binning_method = binning_method or self.axes[0].label

    @classmethod
    def time_binning_ccm(
        cls,
        full_detector_response: FullDetectorResponse,
        orientation: SpacecraftFile,
        time_intervals: Any,
        nside_model: int | None = None,
        is_nest_model: bool = False,
    ) -> CoordsysConversionMatrix:
        """Return the matrix for bins of time, as published: without occultation and livetime.

        Parameters
        ----------
        full_detector_response
            Response, whose pixels of NuLambda are those of the detector.
        orientation
            Where the instrument pointed.
        time_intervals
            Edges of the bins, as a quantity or in unix seconds.
        nside_model
            Resolution of the sky; the response's by default.
        is_nest_model
            Whether sky pixels are numbered in NESTED order.
        """
        edges = time_intervals.to_value("s") if hasattr(time_intervals, "unit") else time_intervals
        table = by_time(orientation.orientation, np.asarray(edges, float), reference=True)
        return cls._of(
            conversion_histogram(
                table,
                full_detector_response.file["NuLambda"],
                nside_model,
                nested=is_nest_model,
                reference=True,
            )
        )

    @classmethod
    def spacecraft_attitude_binning_ccm(
        cls,
        full_detector_response: FullDetectorResponse,
        exposure_table: SpacecraftAttitudeExposureTable,
        nside_model: int | None = None,
        use_averaged_pointing: bool = False,
    ) -> CoordsysConversionMatrix:
        """Return the matrix for bins of attitude, as published: without occultation.

        Parameters
        ----------
        full_detector_response
            Response, whose pixels of NuLambda are those of the detector.
        exposure_table
            The bins.
        nside_model
            Resolution of the sky; the response's by default.
        use_averaged_pointing
            Whether each bin counts as one attitude, the mean of its pointings.
        """
        return cls._of(
            conversion_histogram(
                exposure_table.table,
                full_detector_response.file["NuLambda"],
                nside_model,
                nested=exposure_table.scheme == "nested",
                averaged=use_averaged_pointing,
                reference=True,
            )
        )

    @classmethod
    def open(cls, filename: str | Path, name: str = "hist") -> CoordsysConversionMatrix:
        """Read a matrix of any age.

        Raises
        ------
        FileError, DataError
            If the file holds none.
        """
        return cls._of(read_conversion(filename, name))

    @classmethod
    def _of(cls, found: histogram.Histogram) -> CoordsysConversionMatrix:
        plain = to_histpy(found)
        return cls(plain.axes, contents=plain.contents, unit=plain.unit)
