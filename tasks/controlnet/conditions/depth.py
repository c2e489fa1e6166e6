"""Depth map by a model of transformers: near is bright."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import transformers
from PIL import Image

from tasks.controlnet.conditions.networks import open_network

DEFAULT = "depth-anything/Depth-Anything-V2-Small-hf"
# These say distances; the others say nearness.
FAR_IS_LARGE = ("glpn", "zoedepth", "depth_pro")

Network = Callable[[Sequence[Image.Image]], list[Image.Image]]


def load(model: str = DEFAULT, token: str | None = None, device: str = "cpu") -> Network:
    """A function of a batch of RGB pictures of one size, which gives their conditions, RGB of that size.

    Raises:
        ConfigError: the model estimates no depth.
        ToolError: it can't be loaded.
    """
    processor, network = open_network(
        transformers.AutoModelForDepthEstimation, model, "--depth-model", "depth estimation", token, device
    )
    # Whether the model's large values are far away.
    turned = (
        network.config.model_type in FAR_IS_LARGE or getattr(network.config, "depth_estimation_type", None) == "metric"
    )

    @torch.inference_mode()
    def run(pictures: Sequence[Image.Image]) -> list[Image.Image]:
        inputs = processor(images=list(pictures), return_tensors="pt").to(device)
        depth = network(**inputs).predicted_depth.float()[:, None]
        size = (pictures[0].height, pictures[0].width)
        maps = torch.nn.functional.interpolate(depth, size=size, mode="bicubic", align_corners=False)
        return [as_picture(one[0].cpu().numpy(), turned) for one in maps]

    return run


def as_picture(values: np.ndarray, turned: bool = False) -> Image.Image:
    """[height, width] of any unit, stretched from black (far) to white (near); `turned`: large is far."""
    values = np.nan_to_num(values.astype(np.float64))
    if turned:
        values = -values
    low, high = float(values.min()), float(values.max())
    grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(255 * grey).astype(np.uint8)).convert("RGB")
