"""Public files of COSI's second data challenge (DC2), for the tutorials of cosipy.

Addresses and MD5 sums are those printed in the tutorials of cosipy; sizes are printed there too,
rounded.
"""

from __future__ import annotations

from skyfold.datasets import DataFile, DataSet

BUCKET = "https://s3.us-west-1.wasabisys.com/cosi-pipeline-public/"
DC2 = "COSI-SMEX/DC2/"
SOURCE = (
    "COSI data challenge 2, bucket cosi-pipeline-public of the COSI collaboration. If the server "
    "refuses, fetch the same path with cosipy.util.fetch_wasabi_file and put the file where "
    "`skyfold data where` says"
)
LICENCE = "not stated; offered to the public by the COSI collaboration"


def _file(path: str, size: float, md5: str | None) -> DataFile:
    checksum = None if md5 is None else f"md5:{md5}"
    name = path.rpartition("/")[2]
    return DataFile(name, BUCKET + path, checksum, int(size), rounded=True)


def _set(description: str, *files: DataFile) -> DataSet:
    return DataSet(description, files, LICENCE, SOURCE)


DATASETS: dict[str, DataSet] = {
    "cosi-dc2-511-events": _set(
        "Events of three simulated months: a thin disk at 511 keV, and albedo photons, the "
        "background of the imaging tutorials (FITS, unbinned).",
        _file(
            DC2 + "Data/Sources/511_thin_disk_3months_unbinned_data.fits.gz",
            202.45e6,
            "e0db59ba35aabd0f3b9371b85986841d",
        ),
        _file(
            DC2 + "Data/Backgrounds/albedo_photons_3months_unbinned_data.fits.gz",
            2.69e9,
            "4c125410d8f127d7e12682f008d5651d",
        ),
    ),
    "cosi-dc2-511-galactic": _set(
        "Response at 511 keV in Galactic coordinates, summed over the orientation of DC2 (HDF5).",
        _file(
            "COSI-SMEX/develop/Data/Responses/PointSourceResponse/psr_gal_511_DC2.h5",
            3.82e9,
            "50eb36c2bc0089ba230af457ec768fa0",
        ),
    ),
    "cosi-dc2-511-detector": _set(
        "Response at 511 keV in the frame of the detector, nside 16 (HDF5).",
        _file(
            DC2 + "Responses/SMEXv12.511keV.HEALPixO4.binnedimaging.imagingresponse.nonsparse"
            "_nside16.area.h5",
            350.43e6,
            "234d65c6e1a54268018f78bd75bfe255",
        ),
    ),
    "cosi-dc2-orientation": _set(
        "Orientation of DC2: three months in steps of one second (.ori).",
        _file(
            DC2 + "Data/Orientation/20280301_3_month_with_orbital_info.ori",
            684.38e6,
            "416fcc296fc37a056a069378a2d30cb2",
        ),
    ),
    "cosi-dc2-crab": _set(
        "Counts of the Crab, of the background, and of both together, in Galactic coordinates "
        "(HDF5).",
        *(
            _file(f"COSI-SMEX/cosipy_tutorials/crab_spectral_fit_galactic_frame/{name}", size, md5)
            for name, size, md5 in (
                ("crab_binned_data.hdf5", 13.16e6, "6e5bccb48556bdbd259519c52dec9dcb"),
                ("bkg_binned_data.hdf5", 89.10e6, "54221d8556eb4ef520ef61da8083e7f4"),
                ("crab_bkg_binned_data.hdf5", 99.16e6, "85658e102414c4f746e64a7d29c607a4"),
            )
        ),
    ),
    "cosi-dc2-continuum": _set(
        "Response from 100 keV to 10 MeV in the frame of the detector, nside 8 (HDF5 in a zip "
        "file; unpack it before use: its MD5 is then e8ff763c5d9e63d3797567a4a51d9eda, that of "
        "the zip file is not published).",
        _file(
            DC2 + "Responses/SMEXv12.Continuum.HEALPixO3_10bins_log_flat.binnedimaging."
            "imagingresponse.nonsparse_nside8.area.good_chunks_unzip.h5.zip",
            839.62e6,
            None,
        ),
    ),
}
