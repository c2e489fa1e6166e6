"""Where the image paths of a data file lead."""

from __future__ import annotations

import os
from pathlib import Path


class Resolver:
    """Turns the image paths of one file into real ones: as they are, beside the file, then under --image-root."""

    def __init__(self, folder: str | Path, image_root: str | None) -> None:
        self.roots = [str(folder)] + ([os.path.expanduser(image_root)] if image_root else [])

    def __call__(self, path: str) -> str:
        """The first place where `path` exists; where there is none, the first place looked at."""
        path = os.path.expanduser(path.strip())
        places = [os.path.normpath(os.path.join(root, path)) for root in self.roots]
        return next((place for place in places if os.path.exists(place)), places[0])
