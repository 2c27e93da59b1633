"""Convolution of an image with a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.vector import Array


def fftconvolve(image: Any, kernel: Any) -> Array:
    """Return the convolution on the pixels of the image, by FFT; outside it is dark."""
    from scipy.signal import fftconvolve as convolve

    return np.asarray(convolve(image, kernel, mode="same"))
