"""Public files of COSI, fetched and checked."""

from __future__ import annotations

import logging
from pathlib import Path

from skyfold.errors import DataError, FileError

BUCKET = "cosi-pipeline-public"
ENDPOINT = "https://s3.us-west-1.wasabisys.com"

log = logging.getLogger(__name__)


def fetch_wasabi_file(
    file: str,
    output: str | Path | None = None,
    overwrite: bool = False,
    checksum: str | None = None,
    *,
    bucket: str = BUCKET,
    endpoint: str = ENDPOINT,
) -> Path:
    """Download a file of COSI's public storage, unless it is there already.

    Parameters
    ----------
    file
        Path of the file in the storage.
    output
        Where to put it; its own name in the current folder by default.
    overwrite
        Replace a file that is there and has another checksum.
    checksum
        MD5 of the file. With it no connection is made for a file that is there.
    bucket, endpoint
        Where the storage is.

    Returns
    -------
    path
        The file.

    Raises
    ------
    DataError
        If a file is there that is another one, or what was downloaded is not the right one.
    FileError
        If it cannot be downloaded.
    """
    import pooch

    path = Path(output or file.rsplit("/", 1)[-1])
    wanted = None if checksum is None else f"md5:{checksum}"
    if path.exists() and not overwrite:
        if checksum is None:
            log.warning("%s is there, and taken as it is: no checksum was given", path)
            return path
        found = pooch.file_hash(str(path), alg="md5")
        if found == checksum:
            return path
        raise DataError(
            f"{path} is there, but its MD5 is {found}, not {checksum}: say overwrite=True to "
            "replace it, or give another output"
        )
    url = f"{endpoint}/{bucket}/{file}"
    if path.exists() and checksum is None:
        path.unlink()
    try:
        pooch.retrieve(url, wanted, fname=path.name, path=path.parent, progressbar=False)
    except ValueError as error:
        raise DataError(f"{url}: what was downloaded is not the right file: {error}") from error
    except OSError as error:
        raise FileError(
            f"{url} cannot be downloaded: {error}. If the storage wants an access key, COSI's "
            "documentation says how to get the file; put it in place and call again"
        ) from error
    return path
