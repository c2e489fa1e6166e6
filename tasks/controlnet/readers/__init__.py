"""Recognises the format of --data, by its files and columns, and gives its splits."""

from __future__ import annotations

from pathlib import Path

from tasks.controlnet.readers import tables
from tasks.controlnet.readers.paths import pictures_below
from tasks.controlnet.readers.source import Options, Read, Source
from tasks.errors import DataError
from tasks.readers.paths import check_is_remote, exists, files_below, holdings, listing

__all__ = ["FORMATS", "Options", "Read", "Source", "recognise"]

FORMATS = (
    "a folder with metadata.jsonl, two folders of images and conditioning_images named alike, fill50k's prompt.json "
    "with source and target, or CSV, JSON lines or Parquet with image, conditioning_image and text"
)


def recognise(options: Options) -> Source:
    """What the data are: `sample`, a file or folder here, or a dataset on the Hub.

    Raises:
        DataError: a path that is not there, can't be read, or holds no pairs in a format known here.
        ToolError: a Hub id that can't be reached.
    """
    data = options.data or "sample"
    if data == "sample":
        from tasks.controlnet.sample import sample

        return sample.source(options)
    if options.conditioning_dir is not None and not Path(options.conditioning_dir).expanduser().is_dir():
        raise DataError(f"--conditioning-dir {options.conditioning_dir}: no such folder")
    path = Path(data).expanduser()
    if exists(path):
        return _local(path, options)
    check_is_remote(data, "sample")
    from tasks.controlnet.readers import hub
    from tasks.readers import remote

    return remote.recognise(options, hub.read)


def _local(path: Path, options: Options) -> Source:
    from tasks.controlnet.readers import folders, hub

    if path.is_dir():
        listing(path)
    for read in (tables.recognise_folder, hub.recognise, tables.recognise, folders.recognise):
        source = read(path, options)
        if source is not None:
            return source
    if path.is_file():
        raise DataError(f"{path}: not a format known here; give {FORMATS}")
    if next(pictures_below(path), None) is not None:
        raise DataError(
            f"no conditions found for the pictures in the folder {path}; give their folder as --conditioning-dir, or "
            f"make them with `tool data build controlnet --images {path}`"
        )
    raise DataError(f"no pairs found in the folder {path} ({holdings(path, files_below(path, 2))}); give {FORMATS}")
