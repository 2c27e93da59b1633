"""From photon counts to images, for every instrument."""
