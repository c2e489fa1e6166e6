"""Which column is what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.controlnet.readers.source import Options
from tasks.errors import ConfigError, DataError
from tasks.readers.paths import first_of

IMAGE = (
    "image",
    "file_name",
    "image_file_name",
    "image_path",
    "image_file",
    "img",
    "img_path",
    "filename",
    "target",
    "target_image",
    "target_file_name",
    "path",
    "file",
    "jpg",
    "png",
    "picture",
)
CONDITION = (
    "conditioning_image",
    "conditioning_image_file_name",
    "conditioning_image_path",
    "conditioning_file_name",
    "conditioning",
    "condition_image",
    "condition_image_file_name",
    "condition_file_name",
    "condition",
    "control_image",
    "control_image_file_name",
    "control_file_name",
    "control",
    "hint",
    "source_image",
    "source_file_name",
)
CAPTION = ("text", "caption", "captions", "prompt", "prompts", "texts")


@dataclass(frozen=True)
class Layout:
    """The column of each field; no condition column where conditions are found by name, none for no captions."""

    image: str
    condition: str | None
    caption: str | None


def looks_like(names: Iterable[str], options: Options) -> bool:
    """Whether columns of these names can be pictures with conditions or captions."""
    names = list(names)
    image = options.image_column in names or first_of(names, IMAGE) is not None
    return image and (
        options.conditioning_image_column in names
        or _condition(names) is not None
        or _caption(names, options) is not None
    )


NAME_IT = "name it with --conditioning-image-column"
NAME_IT_OR_FOLDER = (
    f"{NAME_IT}, give their folder as --conditioning-dir, or make them with `tool data build controlnet`"
)


def layout(names: Iterable[str], options: Options, source: str, by_name: bool = False, hint: str = NAME_IT) -> Layout:
    """Finds the columns.

    Args:
        by_name: conditions can be found by the pictures' names where no column holds them.
        hint: what to do about a missing column of conditions.

    Raises:
        ConfigError: an override names a column that is not there.
        DataError: no column of pictures or of conditions is found.
    """
    names = list(names)
    caption = None if options.caption_column == "none" and "none" not in names else options.caption_column
    named = (
        ("image", options.image_column),
        ("conditioning-image", options.conditioning_image_column),
        ("caption", caption),
    )
    for flag, name in named:
        if name is not None and name not in names:
            raise ConfigError(f"--{flag}-column {name}: {source} has no such column, only {', '.join(names)}")
    taken = {name for _, name in named if name is not None}
    image = options.image_column or first_of([name for name in names if name not in taken], IMAGE)
    if image is None:
        raise DataError(f"{source}: no column of pictures among {', '.join(names)}; name it with --image-column")
    rest = [name for name in names if name not in taken and name != image]
    condition = options.conditioning_image_column or _condition([*rest, image])
    if condition is None and not by_name:
        raise DataError(f"{source}: no column of conditions among {', '.join(names)}; {hint}")
    return Layout(image, condition, _caption([name for name in names if name != condition], options))


def _condition(names: list[str]) -> str | None:
    """`source` is a condition beside `target`, as in fill50k; alone it may be anything."""
    found = first_of(names, CONDITION)
    return found or ("source" if "source" in names and "target" in names else None)


def _caption(names: list[str], options: Options) -> str | None:
    if options.caption_column == "none" and "none" not in names:
        return None
    return options.caption_column or first_of(names, CAPTION)
