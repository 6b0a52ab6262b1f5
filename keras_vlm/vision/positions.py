"""Where and when a token is: waves over the places of a grid, and over the frames of a clip.

Refuses to know what the tokens show. Dimension letters: N tokens, F frames, D their width.
"""

import math

import keras
import numpy as np
from keras import ops

# Slowest wave of the time encoding, in clips; the fastest takes two frames.
SLOWEST_WAVE = 4.0


class GridWaves(keras.initializers.Initializer):
    """Positions [N,D] of a square grid: sines and cosines along its rows and its columns.

    The longest wave has two grid sides, for it tells one end from the other. Where N is no square,
    the waves run along one axis.

    Args:
        scale: their height.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on two axes as in Carion et al. 2020,
        https://arxiv.org/abs/2005.12872.
    """

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, shape, dtype=None):
        """Returns the positions."""
        tokens, width = shape
        side = math.isqrt(tokens)
        places = np.arange(tokens)
        axes = (
            [places // side, places % side] if side * side == tokens else [places * side / tokens]
        )
        share = -(-width // (2 * len(axes)))
        # From two sides a wave down to two tokens a wave.
        waves = np.pi / side * side ** (np.arange(share) / max(1, share - 1))
        angles = np.concatenate([np.outer(axis + 0.5, waves) for axis in axes], axis=1)
        table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)[:, :width]
        return ops.convert_to_tensor(self.scale * table, dtype=dtype or "float32")

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"scale": self.scale}


def encode_times(frames, width):
    """Returns [F,D] float32: sines and cosines of each frame's place in the clip.

    Args:
        frames: F.
        width: D.

    Source:
        Vaswani et al. 2017, for positions in a sentence; here waves run from two frames to four
        clips.
    """
    waves = max(1, width // 2)
    lengths = 2 * (SLOWEST_WAVE * frames / 2) ** (np.arange(waves) / max(1, waves - 1))
    angles = 2 * np.pi * (np.arange(frames)[:, None] + 0.5) / lengths
    encoded = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width]
    return np.pad(encoded, [(0, 0), (0, width - encoded.shape[1])]).astype(np.float32)
