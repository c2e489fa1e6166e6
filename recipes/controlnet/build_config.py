"""The options of `tool data build controlnet`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from recipes.config import Panel
from recipes.controlnet.config import uneven
from recipes.options import HUB, INPUT, MACHINE, OUTPUT
from tasks.controlnet.building.captions import BLIP, PLACE, WAYS
from tasks.controlnet.conditions import KINDS

CONDITION, CAPTIONS = Panel("Condition"), Panel("Captions")

# Options that one kind of condition alone has: option -> (kind, the name that its `make` or `load` gives it).
OF_KIND = {
    "canny_low": ("canny", "low"),
    "canny_high": ("canny", "high"),
    "edges_sigma": ("edges", "sigma"),
    "blur_sigma": ("blur", "sigma"),
    "palette_colours": ("palette", "colours"),
    "palette_block": ("palette", "block"),
    "scribble_thickness": ("scribble", "thickness"),
    "scribble_sigma": ("scribble", "sigma"),
    "landmarks": ("landmarks", ""),
    "landmarks_thickness": ("landmarks", "thickness"),
    "depth_model": ("depth", ""),
    "segmentation_model": ("segmentation", ""),
}


@dataclasses.dataclass
class Build:
    """`tool data build controlnet`."""

    images: str | None = INPUT.setting(None, "Folder of pictures, with all below it, in the formats that PIL reads.")
    resolution: int | None = INPUT.option(
        None,
        "Shorter side of the pairs in pixels, a multiple of 8; smaller pictures are left out.",
        minimum=8,
        shown_default="each picture's own size",
    )
    crop: str = INPUT.option(
        "center",
        "With --resolution: the middle as a square, or none: the picture's shape, to a multiple of 8.",
        choices=("center", "none"),
    )
    skip_bad: bool = INPUT.setting(
        False, "Leave out what is broken, too small, or without caption or landmarks, and say how many."
    )

    condition: str = CONDITION.option(
        "canny",
        "What is made of each picture. edges: soft edges by image processing, alike to HED's but without its network.",
        choices=KINDS,
    )
    canny_low: int | None = CONDITION.option(
        None, "Lower threshold; auto: by the picture's median.", words=("auto",), minimum=0, shown_default="100"
    )
    canny_high: int | None = CONDITION.option(None, "Upper threshold.", words=("auto",), minimum=0, shown_default="200")
    edges_sigma: float | None = CONDITION.option(
        None, "Width of the finest of three Gaussians, in pixels.", above=0, shown_default="1.5"
    )
    blur_sigma: float | None = CONDITION.option(None, "Width of the Gaussian, in pixels.", above=0, shown_default="8.0")
    palette_colours: int | None = CONDITION.option(
        None, "At most so many colours.", minimum=2, maximum=256, shown_default="16"
    )
    palette_block: int | None = CONDITION.option(
        None, "Side of a block of one colour, in pixels.", minimum=1, shown_default="32"
    )
    scribble_thickness: int | None = CONDITION.option(None, "Of the strokes, in pixels.", minimum=1, shown_default="3")
    scribble_sigma: float | None = CONDITION.option(
        None, "What is finer than this is smoothed away first, in pixels.", above=0, shown_default="2.0"
    )
    landmarks: str | None = CONDITION.setting(
        None, "Faces' 68 points: dlib XML, JSON {picture: [[x, y], ...]}, or a folder with .pts or *_ldmks.txt files."
    )
    landmarks_thickness: int | None = CONDITION.option(
        None, "Of the lines, in pixels.", minimum=1, shown_default="a 256th of the shorter side"
    )
    depth_model: str | None = CONDITION.option(
        None,
        "Hub id or folder of a depth estimation model (Depth Anything, DPT, GLPN, ZoeDepth).",
        shown_default="depth-anything/Depth-Anything-V2-Small-hf",
    )
    segmentation_model: str | None = CONDITION.option(
        None,
        "Hub id or folder of a semantic segmentation model (UperNet, SegFormer); ADE20K's colours for 150 classes.",
        shown_default="openmmlab/upernet-convnext-small",
    )

    caption: str = CAPTIONS.option(
        "none",
        "none: empty; class: the column `class` of metadata.jsonl or metadata.csv, else the folder's name; column: of "
        "that table; txt: a text file beside each picture; blip: by a model; or a FILE of file_name and text.",
    )
    caption_column: str | None = CAPTIONS.option(
        None, "The table's column.", shown_default="text, caption, captions or prompt"
    )
    caption_template: str | None = CAPTIONS.option(
        None, f'What each caption is put into, such as "a photo of a {PLACE}".'
    )
    caption_model: str = CAPTIONS.option(BLIP, "The BLIP that captions.")

    output: str = OUTPUT.setting("controlnet-pairs", "Folder to write.")
    image_format: str = OUTPUT.option(
        "png",
        "Of resized pictures; JPEG and PNG that need no change are copied. jpeg: quality 95, a third of the size.",
        choices=("png", "jpeg"),
    )
    eval_fraction: float = OUTPUT.option(0.0, "Share written apart as the split `validation`.", minimum=0, maximum=0.9)
    seed: int = OUTPUT.option(0, "Seed of that share.", minimum=0)

    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    workers: int | None = MACHINE.setting(
        None, "Pictures worked on at once; the result doesn't depend on it.", minimum=1, shown_default="all cores"
    )
    batch_size: int = MACHINE.setting(8, "Pictures that a model sees at once.", minimum=1)
    cpu: bool = MACHINE.setting(False, "Use the CPU even where there is a GPU.")

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = []
        if not self.images:
            found.append(
                "--images: give the folder of pictures: tool data build controlnet --images photos --condition canny"
            )
        elif not Path(self.images).expanduser().is_dir():
            found.append(f"--images {self.images}: no such folder")
        found += uneven(self.resolution)
        for name, (kind, _) in OF_KIND.items():
            if getattr(self, name) is not None and kind != self.condition:
                found.append(f"--{name.replace('_', '-')} is for --condition {kind}, and this is {self.condition}")
        if self.condition == "landmarks" and not self.landmarks:
            found.append("--condition landmarks: give their annotations: --landmarks FILE or FOLDER")
        return found + self._caption_problems()

    def _caption_problems(self) -> list[str]:
        found = []
        if self.caption not in WAYS and not Path(self.caption).expanduser().is_file():
            found.append(f"--caption {self.caption}: neither a file nor one of {', '.join(WAYS)}")
        if self.caption_column and self.caption in ("none", "class", "txt", "blip"):
            found.append(f"--caption-column is for --caption column or a file, and this is {self.caption}")
        if self.caption_template is not None and PLACE not in self.caption_template:
            found.append(f"--caption-template: must hold {PLACE}, found {self.caption_template!r}")
        if self.caption_template is not None and self.caption == "none":
            found.append("--caption-template: there are no captions to put into it; give --caption too")
        return found


def condition_options(config: Build) -> dict[str, Any]:
    """What was given of the kind's own options, under the names of its `make`."""
    given = {
        inner: getattr(config, name) for name, (kind, inner) in OF_KIND.items() if kind == config.condition and inner
    }
    return {name: value for name, value in given.items() if value is not None}
