"""Images of the page that stand still: a layer, its name, and what its colours reach."""

from __future__ import annotations

from html import escape

from skyfold.layers import Layer
from skyfold.report.markup import NARROW, Html
from skyfold.report.overlay import overlay
from skyfold.report.pixels import plate
from skyfold.vector import Array


def still(layer: Layer, caption: str, below: str = "", scale: Array | None = None) -> Html:
    """Return a layer as an image with its title and a caption.

    Parameters
    ----------
    layer
        An image, or a whole sky.
    caption
        What stands beside the title.
    below
        HTML between the image and the title.
    scale
        Values that set the colours, for images that share them; its own by default.
    """
    image = plate(layer.flat, layer.kind, layer.upward, scale)
    height, width = layer.flat.shape
    text = f"{escape(layer.title)} <span>{escape(caption)}</span>"
    drawn = (
        f'<img src="{image.uri}" width="{width}" height="{height}" '
        f'alt="{escape(layer.title)}, {escape(caption)}">'
    )
    if over := overlay(layer):
        drawn = f'<div class="{"sky" if layer.frame else "marked"}">{drawn}{over}</div>'
    return Html(f"<figure>{drawn}{below}<figcaption>{text}</figcaption></figure>")


def span(layer: Layer, scale: Array | None = None) -> str:
    """Return the values of the darkest and the brightest colour (`scale`: see `still`).

    Where values go on beyond the brightest colour, it says how far.
    """
    image = plate(layer.flat, layer.kind, layer.upward, scale)
    told = f"{image.low:.4g} to {image.high:.4g}{NARROW}{layer.unit}".strip()
    return f"{told}; values up to {image.most:.4g} saturate" if image.most > image.high else told
