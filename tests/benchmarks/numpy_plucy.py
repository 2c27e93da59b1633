"""The step of PLUCY in plain NumPy, in the order of the original: what skyfold is measured by.

Real Fourier transforms; six convolutions for each accelerated iteration, four otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Image = np.ndarray


@dataclass
class Channels:
    """Estimate of both channels, in units of the total counts: a background, and star fluxes."""

    background: Image
    fluxes: Image
    objective: float = -np.inf
    acceleration: float = 1.0


class NumpyPlucy:
    """Multiplicative steps with a floating prior, accelerated by Newton's method.

    Parameters
    ----------
    data
        Counts, (y, x).
    psf
        As large as the data, its origin at element ``(n - 1) // 2`` of each axis.
    places
        Row and column of each star, shape ``(n, 2)``.
    strength, sigma
        Of the entropy, and of its Gaussian in pixels.
    """

    def __init__(
        self, data: Image, psf: Image, places: Image, strength: float, sigma: float
    ) -> None:
        self.total = data.sum()
        self.data, self.places, self.strength = data / self.total, tuple(places.T), strength
        y, x = (np.arange(n) - (n - 1) // 2 for n in data.shape)
        square = y[:, None] ** 2 + x**2
        kernel = np.where(square < 25 * sigma**2, np.exp(-square / (2 * sigma**2)), 0)
        self.psf, self.gauss = self._transfer(psf), self._transfer(kernel)

    def start(self, fluxes: Image) -> Channels:
        """Return stars of given fluxes in counts, on a flat background of the rest."""
        fluxes = fluxes / self.total
        rest = (1 - fluxes.sum()) / self.data.size
        return Channels(np.full(self.data.shape, rest), fluxes)

    def step(self, now: Channels) -> Channels:
        """Return the next estimate."""
        psi, f, alpha = now.background, now.fluxes, self.strength
        model = self._convolve(self._with(psi, f), self.psf)
        chi = self._convolve(psi, self.gauss)
        ratio = np.divide(self.data, model, out=np.zeros_like(model), where=model > 0)
        both = (psi > 0) & (chi > 0)
        quotient = np.where(both, psi / chi, 1.0)
        e = psi * np.log(quotient)
        entropy = -e.sum()
        good = model > 0
        objective = (self.data[good] * np.log(model[good])).sum() + alpha * entropy
        cf = self._convolve(ratio, self.psf.conj())
        cfp = self._convolve(quotient, self.gauss.conj())
        step_psi = psi * (cf - 1) + alpha * (psi * (cfp - 1) - psi * entropy - e)
        step_f = f * (cf[self.places] - 1 - alpha * entropy)
        share = self._acceleration((psi, model, chi), step_psi, step_f)
        background = np.maximum(psi + share * step_psi, 0)
        return Channels(background, np.maximum(f + share * step_f, 0), objective, share)

    def _acceleration(
        self, now: tuple[Image, Image, Image], step_psi: Image, step_f: Image
    ) -> float:
        ahead = self._convolve(self._with(step_psi, step_f), self.psf)
        chi_ahead = self._convolve(step_psi, self.gauss)
        steps, most = (step_psi, ahead, chi_ahead), np.inf
        for value, step in zip(now, steps, strict=True):
            far = np.divide(-value, step, out=np.full(value.shape, np.inf), where=step != 0)
            most = min(most, far[far > 0].min(initial=np.inf))
        up = 1 + 0.9 * (most - 1) if most > 1 else 0.9 * most
        x = 1.0
        for _ in range(50):
            p, m, c = (value + x * step for value, step in zip(now, steps, strict=True))
            seen = (p > 0) & (m > 0) & (c > 0)
            p, m, c = (np.where(seen, a, 1.0) for a in (p, m, c))
            dp, dm, dc = (np.where(seen, a, 0.0) for a in steps)
            rise = (self.data * dm / m).sum()
            rise += self.strength * (-(np.log(p / c) + 1) * dp + p * dc / c).sum()
            bend = (self.data * (dm / m) ** 2).sum()
            bend += self.strength * (p * (dc / c - dp / p) ** 2).sum()
            last, x = x, min(up, x + rise / bend)
            if x < 0:
                return 1.0 if up > 10 else up
            if abs(x - last) <= 0.01:
                break
        return x

    def _with(self, background: Image, fluxes: Image) -> Image:
        both = background.copy()
        np.add.at(both, self.places, fluxes)
        return both

    def _transfer(self, kernel: Image) -> Image:
        shift = [-((n - 1) // 2) for n in kernel.shape]
        return np.fft.rfft2(np.roll(kernel / kernel.sum(), shift, axis=(0, 1)))

    def _convolve(self, image: Image, transfer: Image) -> Image:
        return np.fft.irfft2(np.fft.rfft2(image) * transfer, image.shape)
