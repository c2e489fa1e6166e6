"""What things are, by a model of transformers: a colour a class.

A model of ADE20K's 150 classes gets the colours of that data set, which published ControlNets know; any other has
colours that follow from the number of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from tasks.controlnet.conditions.networks import open_network

DEFAULT = "openmmlab/upernet-convnext-small"
ADE20K = Path(__file__).with_name("ade20k.txt")  # source: the data set's own colours, sceneparsing.csail.mit.edu

Network = Callable[[Sequence[Image.Image]], list[Image.Image]]


def load(model: str = DEFAULT, token: str | None = None, device: str = "cpu") -> Network:
    """A function of a batch of RGB pictures of one size, which gives their conditions, RGB of that size.

    Raises:
        ConfigError: the model does no semantic segmentation.
        ToolError: it can't be loaded.
    """
    processor, network = open_network(
        transformers.AutoModelForSemanticSegmentation,
        model,
        "--segmentation-model",
        "semantic segmentation",
        token,
        device,
    )
    colours = palette(network.config.num_labels)

    @torch.inference_mode()
    def run(pictures: Sequence[Image.Image]) -> list[Image.Image]:
        inputs = processor(images=list(pictures), return_tensors="pt").to(device)
        logits = network(**inputs).logits.float()
        size = (pictures[0].height, pictures[0].width)
        logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return [Image.fromarray(colours[one.cpu().numpy()]) for one in logits.argmax(dim=1)]

    return run


@cache
def palette(classes: int) -> np.ndarray:
    """uint8 [classes, 3]: ADE20K's colours for its 150 classes, else a colour by the bits of the number.

    The latter puts the lowest three bits of a number into the highest bits of red, green and blue, the next three
    below them, and so on; so does PASCAL VOC.
    """
    if classes == 150:
        words = ADE20K.read_text(encoding="utf-8").split()
        return np.array([list(bytes.fromhex(word)) for word in words], np.uint8)
    numbers = np.arange(classes)
    colours = np.zeros((classes, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> (3 * bit + channel) & 1) << (7 - bit)
    return (colours % 256).astype(np.uint8)
