"""Files of a model in diffusers' format, in a folder or on the Hub; only those needed are fetched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download

from tasks.errors import ConfigError, DataError
from tasks.hub import is_hub_id, loading

# Component -> how its weights file begins.
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@dataclass
class Snapshot:
    """Files by name, `component/file`; those on the Hub are fetched when asked for.

    Attributes:
        folder: where they lie, or None while they are on the Hub only.
        cached: it is what the Hub's cache holds, with no way to look at the rest.
    """

    model: str
    flag: str
    revision: str | None
    token: str | None
    folder: Path | None
    files: list[str]
    cached: bool = False

    @staticmethod
    def of(model: str, revision: str | None, token: str | None, flag: str = "--model") -> Snapshot:
        """The files of a folder or of a repository of the Hub.

        Raises:
            ConfigError: no such folder.
            ToolError: the Hub doesn't give it.
        """
        with loading(model, flag):
            if not is_hub_id(model):
                folder = Path(model).expanduser()
                return Snapshot(model, flag, None, None, folder, _names(folder))
            if constants.HF_HUB_OFFLINE:
                # By name, for the library wants all that is asked for; what else is there is seen below.
                wanted = ["model_index.json", "config.json"]
                folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted, local_files_only=True))
                return Snapshot(model, flag, revision, token, folder, _names(folder), cached=True)
            files = sorted(HfApi(token=token).list_repo_files(model, revision=revision))
            return Snapshot(model, flag, revision, token, None, files)

    def fetch(self, names: list[str]) -> Path:
        """The folder in which these files lie now."""
        if self.folder is not None:
            return self.folder
        with loading(self.model, self.flag):
            return Path(snapshot_download(self.model, revision=self.revision, token=self.token, allow_patterns=names))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file's object.

        Raises:
            ConfigError: there is no such file.
            DataError: it isn't JSON.
        """
        self.require(name)
        path = self.fetch(["*.json", "*/*.json"]) / name  # all at once: each request takes its time
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{self.flag} {self.model}: {name} is not JSON ({error}); take another copy") from error
        return found

    def require(self, name: str) -> None:
        """Raises ConfigError where a file is missing."""
        if name not in self.files:
            why = "the Hub's cache has no" if self.cached else "has no"
            hint = "; run once with a network" if self.cached else "; take a whole copy"
            raise ConfigError(f"{self.flag} {self.model}: {why} {name}{hint}")

    def weights(self, component: str, variant: str | None) -> list[str]:
        """The safetensors files of a component, of the variant where it has them, else plain; with the index of several.

        Raises:
            ConfigError: it has none, or pickles only: says how to convert them.
        """
        stem = f"{component}/{STEMS[component]}" if component else "diffusion_pytorch_model"
        for kind in dict.fromkeys((variant, None)):
            found = [name for name in self.files if _is_weights(name, stem, kind)]
            if any(name.endswith(".safetensors") for name in found):
                return found
        inside = [name for name in self.files if name.startswith(stem)]
        said = f"{self.flag} {self.model}: has no {component + ' ' if component else ''}weights as safetensors"
        loader, copy = ("DiffusionPipeline", "base") if component else ("ControlNetModel", "controlnet")
        if any(name.endswith((".bin", ".ckpt", ".pt")) for name in inside):
            raise ConfigError(
                f'{said}, only pickles, which are not loaded; convert a copy that you trust: python -c "from diffusers import '
                f"{loader} as P; P.from_pretrained('MODEL', use_safetensors=False).save_pretrained('{copy}')\", then {self.flag} {copy}"
            )
        others = [name.rsplit("/")[-1] for name in inside if name.endswith(".safetensors")]
        mend = "name its --variant" if component else f"put a copy named {stem}.safetensors beside its config.json"
        hint = f"; there is {', '.join(others)}: {mend}" if others else f" ({stem}.safetensors)"
        raise ConfigError(f"{said}{hint}")


def _is_weights(name: str, stem: str, variant: str | None) -> bool:
    """Whether a file is of the weights in one variant: whole, in numbered parts, or their index."""
    tag, part = re.escape(f".{variant}" if variant else ""), r"-[^.]*of-[^.]*"
    ends = (rf"{tag}(?:{part})?\.safetensors", rf"{part}{tag}\.safetensors", rf"\.safetensors\.index{tag}\.json")
    return re.fullmatch(f"{re.escape(stem)}(?:{'|'.join(ends)})", name) is not None


def _names(folder: Path) -> list[str]:
    """Files of the folder and of the folders in it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
    )
