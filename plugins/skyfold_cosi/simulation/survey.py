"""A survey: one sky, background, telescope and orbit, and the bins of its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.binning import bin_events
from skyfold_cosi.exposure import ExposureTable
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.orientation import Orientation
from skyfold_cosi.simulation.background import Background
from skyfold_cosi.simulation.binned import BinnedResponse, detector_response, galactic_response
from skyfold_cosi.simulation.events import Drawn
from skyfold_cosi.simulation.scene import Scene
from skyfold_cosi.simulation.telescope import Telescope
from skyfold_cosi.unbinned import from_vectors


@dataclass(frozen=True, eq=False)
class Survey:
    """What is observed, with what, and into which bins.

    Parameters
    ----------
    scene
        The sky.
    orientation
        Where the telescope pointed.
    nside
        Resolution of the sky, of the directions psi chi and of photons in the detector.
    phi_step
        Width of the bins of the Compton angle, degrees.
    telescope, background
        The physics.
    """

    scene: Scene
    orientation: Orientation
    nside: int
    phi_step: float = 5.0
    telescope: Telescope = field(default_factory=Telescope)
    background: Background = field(default_factory=Background)

    @property
    def energies(self) -> Array:
        """Edges of the energy bins, true and measured, keV."""
        return np.array(self.scene.energies)

    @property
    def phi(self) -> Array:
        """Edges of the bins of the Compton angle, degrees."""
        return np.linspace(0, 180, round(180 / self.phi_step) + 1)

    @cached_property
    def response(self) -> BinnedResponse:
        """Response of the sky in Galactic coordinates, cm2 s."""
        return galactic_response(
            self.telescope, self.orientation, self.nside, self.energies, self.energies, self.phi,
            line=self.scene.line,
        )  # fmt: skip

    @cached_property
    def detector(self) -> BinnedResponse:
        """Response in the detector's frame, cm2."""
        return detector_response(
            self.telescope, self.nside, self.energies, self.energies, self.phi,
            line=self.scene.line,
        )  # fmt: skip

    @property
    def axes(self) -> tuple[Axis, Axis, Axis, Axis]:
        """Time (one bin), Em, Phi and PsiChi of Galactic data."""
        ends = Axis("Time", self.orientation.time[[0, -1]], "s")
        return ends, *self.response.axes[2:]

    def truth(self, counts: float) -> Array:
        """Return the intensity, 1/(cm2 s sr), shape (pixels, Ei), that makes so many counts."""
        flux = self.scene.truth(self.nside)
        made = np.sum(flux * self.response.area * self.response.share.sum(axis=(1, 2)))
        return np.asarray(flux * (counts / made) / (4 * np.pi / len(flux)))

    def template(self, counts: float, table: ExposureTable | None = None) -> Histogram:
        """Return the expected background, in Galactic coordinates or in bins of attitude."""
        shape = self.background.template(
            self.telescope,
            self.energies,
            self.phi,
            self.nside,
            self.orientation if table is None else None,
        )
        if table is None:
            return Histogram(self.axes, counts * shape[None])
        share = table.exposure / table.exposure.sum()
        axes = (table.axis, *self.detector.axes[2:])
        return Histogram(axes, counts * share[:, None, None, None] * shape)

    def binned(self, events: Drawn, table: ExposureTable | None = None) -> Histogram:
        """Return counts in Galactic coordinates, or in bins of attitude in the detector's frame.

        Events in no bin of the table are left out.
        """
        axes = self.axes if table is None else (table.axis, *self.detector.axes[2:])
        seen = from_vectors(
            events.time, events.energy, events.angle, events.x, events.z, events.local
        )
        return bin_events(seen, axes, attitudes=table).histogram
