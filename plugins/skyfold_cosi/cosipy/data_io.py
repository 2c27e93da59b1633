"""Events put into bins, as cosipy's notebooks ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skyfold.errors import ConfigError
from skyfold_cosi.binning import bin_events, data_axes
from skyfold_cosi.container import read
from skyfold_cosi.histogram import to_histpy
from skyfold_cosi.inputs_file import read_inputs
from skyfold_cosi.unbinned import read_blocks, read_unbinned


class BinnedData:
    """Counts of events in the bins that an inputs file describes.

    Parameters
    ----------
    input_yaml
        The file ``inputs_*.yaml``.

    Attributes
    ----------
    inputs
        What the file says.
    binned_data
        The counts, a sparse histogram of histpy, once there are any.
    """

    binned_data: Any

    def __init__(self, input_yaml: str | Path) -> None:
        self.inputs = read_inputs(input_yaml)

    def get_binned_data(
        self,
        unbinned_data: str | Path | None = None,
        output_name: str | Path | None = None,
        psichi_binning: str = "galactic",
        event_range: Sequence[int] | None = None,
    ) -> None:
        """Bin events, and keep the counts as `binned_data`.

        Parameters
        ----------
        unbinned_data
            File of events, of any format; the one that the inputs name by default.
        output_name
            Name of a file to write the counts to, without its ``.hdf5``.
        psichi_binning
            Frame of the directions: ``galactic`` or ``local``.
        event_range
            First event that is binned, and the first that is not any more.

        Raises
        ------
        ConfigError
            If the frame is unknown, or no events are named.
        DataError, FileError
            If the events cannot be read, or none is in a bin.
        """
        if psichi_binning not in ("galactic", "local"):
            raise ConfigError(
                f"psichi_binning: expected 'galactic' or 'local', got {psichi_binning!r}"
            )
        path = unbinned_data or self.inputs.data_file
        if path is None:
            raise ConfigError("no events: give unbinned_data, or data_file in the inputs file")
        axes = data_axes(
            self.inputs.energies,
            self.inputs.phi,
            self.inputs.nside,
            "galactic" if psichi_binning == "galactic" else "detector",
            times=self.inputs.times,
            nested=self.inputs.nested,
        )
        events = read_blocks(path) if event_range is None else self._some(path, event_range)
        self.binned_data = to_histpy(bin_events(events, axes).histogram)
        if output_name is not None:
            self.binned_data.write(f"{output_name}.hdf5", overwrite=True)

    def load_binned_data_from_hdf5(self, binned_data: str | Path) -> None:
        """Read counts from a file, and keep them as `binned_data`."""
        self.binned_data = to_histpy(read(binned_data))

    @staticmethod
    def _some(path: str | Path, event_range: Sequence[int]) -> Any:
        first, stop = event_range
        return read_unbinned(path)[int(first) : int(stop)]
