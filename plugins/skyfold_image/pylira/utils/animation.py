"""The images of a trace as a film.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes

from skyfold.vector import Array


def image_trace_animation(
    image_trace: Array,
    ax: Axes | None = None,
    interval: int = 20,
    repeat: bool = True,
    n_frames: int | None = None,
    cumulative: bool = False,
    label_dxy: tuple[float, float] = (20, 10),
    **kwargs: Any,
) -> FuncAnimation:
    """Show the images of a trace one after the other.

    Parameters
    ----------
    image_trace
        Shape (iterations, y, x).
    ax
        Where to draw; the current axes by default.
    interval
        Milliseconds between images.
    repeat
        Whether to begin anew at the end.
    n_frames
        Number of images; all by default.
    cumulative
        Whether to show the mean of all images so far instead.
    label_dxy
        Distance of the label from the upper left corner, in points.
    **kwargs
        Go to ``imshow``.
    """
    axes = plt.gca() if ax is None else ax
    frames = image_trace[:n_frames]
    highest = float(np.max(frames, initial=0))
    style = {"origin": "lower", "vmin": 0, "vmax": highest, **kwargs}
    shown = axes.imshow(frames[0], **style)
    label = axes.annotate(
        "", (0, 1), (label_dxy[0], -label_dxy[1]),
        xycoords="axes fraction", textcoords="offset points", va="top", color="white",
    )  # fmt: skip
    total = np.zeros(frames.shape[1:])

    def draw(frame: int) -> list[Any]:
        nonlocal total
        image = frames[frame]
        if cumulative:
            total = image + (total if frame else 0)
            image = total / (frame + 1)
        shown.set_data(image)
        label.set_text(f"iteration {frame}")
        return [shown, label]

    figure = axes.get_figure(root=True)
    assert figure is not None
    return FuncAnimation(
        figure, draw, frames=len(frames), interval=interval, repeat=repeat, blit=True
    )
