"""Where the paths of a data file lead, and which files of two folders have one name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.readers.paths import files_below

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".npy")
IMAGE_FOLDERS = ("images", "image", "imgs", "target", "targets", "pictures")
CONDITION_FOLDERS = (
    "conditioning_images",
    "conditioning_image",
    "conditioning",
    "conditions",
    "condition",
    "control_images",
    "controls",
    "control",
    "hints",
    "hint",
    "source",
    "sources",
)
_DEPTH = 8


class Places:
    """Turns the paths of one file into real ones: as they are, or below the first of some folders that has them.

    Each folder is listed once, so that a hundred thousand paths cost no hundred thousand questions to a slow disk.

    Args:
        home: where paths start as a rule.
        before, after: folders that are looked into before it and after it.
    """

    def __init__(self, home: str | Path, before: Sequence[str | Path] = (), after: Sequence[str | Path] = ()) -> None:
        self.roots = [os.path.expanduser(str(root)) for root in (*before, home, *after)]
        self.home = len(before)
        self._places: dict[str, list[tuple[str, frozenset[str]]]] = {}
        self._names: dict[str, frozenset[str]] = {}

    def __call__(self, path: str) -> str:
        """The first place where `path` is; where there is none, its place in the home."""
        head, name = os.path.split(path.strip())
        if head not in self._places:
            folders = (os.path.normpath(os.path.join(root, os.path.expanduser(head))) for root in self.roots)
            self._places[head] = [(folder, self._listed(folder)) for folder in folders]
        places = self._places[head]
        return os.path.join(next((folder for folder, names in places if name in names), places[self.home][0]), name)

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]


class Named:
    """The pictures of a folder by their names without suffix, with the folders below it: `a/b.png` is `a/b`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.paths: dict[str, Path] = {}
        self.doubles: list[tuple[str, Path, Path]] = []
        for path in pictures_below(self.folder):
            name = stem(str(path.relative_to(self.folder)))
            if name in self.paths:
                self.doubles.append((name, self.paths[name], path))
            else:
                self.paths[name] = path

    def find(self, path: str) -> Path | None:
        """The picture called as `path` is, folders before its name being there or not."""
        name = stem(os.path.normpath(path).replace(os.sep, "/"))
        parts = name.split("/")
        forms = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self.paths[form] for form in forms if form in self.paths), None)


def stem(path: str) -> str:
    """A path without its suffix."""
    return os.path.splitext(path)[0]


def pictures_below(folder: Path) -> Iterator[Path]:
    """Files in a folder and below that are called as pictures are, by name."""
    return (path for path in files_below(folder, _DEPTH) if path.suffix.lower() in PICTURES)


def folder_among(folder: Path, names: Sequence[str]) -> Path | None:
    """The first subfolder of one of these names."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def picture_places(home: Path, image_root: str | None) -> Places:
    """Where the pictures of a list in `home` are."""
    return Places(home, after=_given(image_root, folder_among(home, IMAGE_FOLDERS)))


def condition_places(home: Path, image_root: str | None, conditioning_dir: str | None) -> Places:
    """Where its conditions are: in their own folder first, as they may be called just as the pictures are."""
    own = _given(conditioning_dir, folder_among(home, CONDITION_FOLDERS))
    return Places(home, before=own, after=_given(image_root))


def _given(*folders: str | Path | None) -> list[str | Path]:
    return [folder for folder in folders if folder is not None]
