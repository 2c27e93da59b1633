"""Images: counts, PSF, exposure, backgrounds and mask as FITS files, photographs or arrays."""
