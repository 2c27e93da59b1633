"""Public files of COSI, fetched and checked."""

from __future__ import annotations

import logging
from pathlib import Path

from skyfold.errors import DataError, FileError
from skyfold.files import replacing

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
    if path.exists():
        found = None if checksum is None else pooch.file_hash(str(path), alg="md5")
        if found is not None and found == checksum:
            return path
        if not overwrite and found is None:
            log.warning("%s is there, and taken as it is: no checksum was given", path)
            return path
        if not overwrite:
            raise DataError(
                f"{path} is there, but its MD5 is {found}, not {checksum}: say overwrite=True to "
                "replace it, or give another output"
            )
    url, wanted = f"{endpoint}/{bucket}/{file}", None if checksum is None else f"md5:{checksum}"
    with replacing(path) as partial:
        try:
            pooch.retrieve(url, wanted, fname=partial.name, path=partial.parent)
        except ValueError as error:
            raise DataError(f"{url}: what was downloaded is not the right file: {error}") from error
        except OSError as error:
            raise FileError(
                f"{url} cannot be downloaded: {error}. If the storage wants an access key, COSI's "
                "documentation says how to get the file; put it in place and call again"
            ) from error
    return path
