"""Regions: boxes and masks become picture tokens, beside the grid or in its place.

A box is (y0, x0, y1, x1) as shares of the picture's height and width; a mask is [S,S] over the
whole picture, whatever its aspect, S = ``MASK_SIDE``. A box without an area and a mask without a
pixel are padding: their token is zeros, by which attention knows it. Refuses to know who found the
regions. Dimension letters: B batch, h and w the grid's sides, N tokens, C their width, R regions, P
samples a side, S a mask's side.
"""

import keras
import numpy as np
from keras import ops

from keras_vlm.core.checks import check_choice, check_number

REGIONS = ("grid", "boxes", "masks")
MASK_SIDE = 56
# Of a box's side, as in Faster R-CNN.
SAMPLES = 7
# y0, x0, y1, x1, height, width, area.
GEOMETRY = 7


def parse_regions(where, regions):
    """Turns ``"grid+boxes"`` or a sequence of names into a tuple of them, in the order of tokens.

    Args:
        where: name of the caller, for the message.
        regions: names in ``REGIONS``, joined by ``+`` or in a sequence.

    Returns:
        A tuple of distinct names.

    Raises:
        ValueError: a name is unknown, or there is none.
    """
    names = regions.split("+") if isinstance(regions, str) else list(regions)
    for name in names:
        check_choice(where, "regions", name, REGIONS)
    if not names:
        raise ValueError(f"{where}: regions must name one of {', '.join(REGIONS)}, got none.")
    return tuple(name for name in REGIONS if name in names)


def masks_of_labels(labels):
    """Turns a label map into a mask a segment.

    Args:
        labels: [H,W] int, the number of each pixel's segment; 0 is none.

    Returns:
        ``(masks [R,S,S] uint8, numbers [R] int)``, by rising number.

    Example:
        >>> masks, numbers = masks_of_labels([[0, 0, 3, 3], [5, 5, 3, 3]])
        >>> numbers.tolist(), masks.mean(axis=(1, 2)).tolist()
        ([3, 5], [0.5, 0.25])
    """
    labels = np.asarray(labels)
    rows, columns = (
        ((np.arange(MASK_SIDE) + 0.5) * side / MASK_SIDE).astype(int) for side in labels.shape
    )
    numbers = np.unique(labels[labels != 0])
    small = labels[np.ix_(rows, columns)]
    masks = (small[None] == numbers[:, None, None]).astype(np.uint8)
    # A segment thinner than a sample keeps the pixel nearest to its middle.
    for place in np.flatnonzero(~masks.any(axis=(1, 2))):
        y, x = (int(where.mean()) for where in np.nonzero(labels == numbers[place]))
        masks[place, y * MASK_SIDE // labels.shape[0], x * MASK_SIDE // labels.shape[1]] = 1
    return masks, numbers


@keras.saving.register_keras_serializable("keras_vlm")
class RegionTokens(keras.layers.Layer):
    """Grid features [B,h*w,C] with boxes [B,R,4] and masks [B,R,S,S] -> tokens [B,N,C+7] float.

    A box's token is the mean of P x P bilinear samples within it, at the middles of its bins; a
    mask's is the mean of the cells that it covers, each by the share covered. Seven numbers are
    appended: y0, x0, y1, x1, height, width and area (of a mask, that of its pixels).

    Args:
        regions: names in ``REGIONS``; tokens come in that order.
        grid_size: ``(h, w)``.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: a name is unknown.

    Source:
        He et al. 2017, "Mask R-CNN", https://arxiv.org/abs/1703.06870, for bilinear samples at
        places that are not rounded; Anderson et al. 2018, "Bottom-Up and Top-Down Attention",
        https://arxiv.org/abs/1707.07998, for a token an object; Chen et al. 2020, "UNITER",
        https://arxiv.org/abs/1909.11740, for the seven numbers.
    """

    def __init__(self, regions, grid_size, **kwargs):
        super().__init__(**kwargs)
        self.regions = parse_regions("RegionTokens", regions)
        self.grid_size = tuple(grid_size)

    def call(self, grid, boxes=None, masks=None):
        """Returns tokens [B,N,C+7], zeros where a region is padding.

        Args:
            grid: [B,h*w,C] float.
            boxes: [B,R,4] float, where ``regions`` has ``"boxes"``.
            masks: [B,R,S,S] of 0 and 1, where ``regions`` has ``"masks"``.
        """
        found = []
        if "grid" in self.regions:
            cells = ops.convert_to_tensor(_cell_boxes(*self.grid_size), grid.dtype)
            cells = ops.broadcast_to(cells[None], (ops.shape(grid)[0], *cells.shape))
            found.append(ops.concatenate([grid, _geometry(cells)], axis=-1))
        if "boxes" in self.regions:
            boxes = ops.cast(boxes, grid.dtype)
            along = [
                _hats(boxes[..., i], boxes[..., i + 2], side)
                for i, side in enumerate(self.grid_size)
            ]
            weights = ops.einsum("brh,brw->brhw", *along)
            real = ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1)
            found.append(self._pool(grid, weights, _geometry(boxes), real))
        if "masks" in self.regions:
            masks = ops.cast(masks, grid.dtype)
            rows, columns = (
                ops.convert_to_tensor(_overlaps(side), grid.dtype) for side in self.grid_size
            )
            covered = ops.einsum("hs,brst,wt->brhw", rows, masks, columns)
            share = ops.mean(masks, axis=(2, 3))
            weights = covered / ops.maximum(ops.sum(covered, axis=(2, 3), keepdims=True), 1e-3)
            geometry = _geometry(_bounds(masks), share)
            found.append(self._pool(grid, weights, geometry, share > 0))
        return found[0] if len(found) == 1 else ops.concatenate(found, axis=1)

    def _pool(self, grid, weights, geometry, real):
        """Returns tokens [B,R,C+7] of weights [B,R,h,w] over the grid."""
        weights = ops.reshape(weights, (-1, weights.shape[1], grid.shape[1]))
        tokens = ops.concatenate([ops.matmul(weights, grid), geometry], axis=-1)
        return ops.where(real[..., None], tokens, ops.zeros_like(tokens))

    def compute_output_shape(self, grid_shape, boxes_shape=None, masks_shape=None):
        """Returns [B,N,C+7]."""
        sizes = {"grid": grid_shape[1]}
        sizes |= {"boxes": boxes_shape[1]} if boxes_shape else {}
        sizes |= {"masks": masks_shape[1]} if masks_shape else {}
        tokens = sum(sizes[name] for name in self.regions)
        return (grid_shape[0], tokens, grid_shape[2] + GEOMETRY)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "regions": list(self.regions),
            "grid_size": list(self.grid_size),
        }


@keras.saving.register_keras_serializable("keras_vlm")
class RegionEncoder(keras.Model):
    """A backbone with regions: {"images", "boxes", "masks"} -> image_features [B,N,C+7].

    Takes the place of the backbone in every builder. It has of the inputs those that ``regions``
    name, and with ``"grid"`` alone the images as they are; examples have them from their source
    (COCO's instances, ``folder:`` with boxes, TFDS's ``objects``) or from ``detect_regions``.

    Args:
        backbone: a ``Backbone``, or any Keras model from images [B,H,W,3] in 0..255 to a grid
            [B,h,w,C].
        regions: ``"grid"``, ``"boxes"``, ``"masks"``, or several as ``"grid+boxes"`` or a tuple.
        max_regions: R, boxes and masks a picture at most, each; the first ones count.
        grid_size: ``(h, w)`` of a model that gives [B,h*w,C]; None takes the backbone's own.
        name: name of the model.

    Attributes:
        region_shapes: dict from the inputs beside ``images`` to their shapes, without the batch.

    Raises:
        ValueError: an option is unknown or out of range, the backbone has no grid, or it crops or
            pads pictures, whose regions would be elsewhere then.

    Example:
        >>> from keras_vlm.vision.backbones import Backbone
        >>> backbone = Backbone("conv_small", image_size=32, weights=None)
        >>> RegionEncoder(backbone, "grid+boxes", max_regions=5).output_shape
        (None, 21, 135)
    """

    def __init__(
        self, backbone, regions="grid+boxes", *, max_regions=16, grid_size=None, name="encoder"
    ):
        where = "RegionEncoder"
        self_regions = parse_regions(where, regions)
        check_number(where, "max_regions", max_regions, minimum=1, integer=True)
        if getattr(backbone, "resize", "stretch") != "stretch":
            raise ValueError(
                f"{where}: backbone must have resize='stretch', got {backbone.resize!r}: boxes are "
                "shares of the whole picture."
            )
        shape = tuple(backbone.output_shape)
        grid_size = grid_size or getattr(backbone, "grid_size", None)
        if len(shape) == 4:
            grid_size = shape[1:3]
        if grid_size is None or len(shape) == 3 and shape[1] != grid_size[0] * grid_size[1]:
            raise ValueError(
                f"{where}: backbone must keep a grid, got the output {shape}. Pass a Backbone, or "
                "the model's grid_size."
            )
        region_shapes = {"boxes": (max_regions, 4), "masks": (max_regions, MASK_SIDE, MASK_SIDE)}
        region_shapes = {k: v for k, v in region_shapes.items() if k in self_regions}
        images = keras.Input(backbone.input_shape[1:], name="images")
        inputs = {
            key: keras.Input(size, name=key, dtype="float32" if key == "boxes" else "uint8")
            for key, size in region_shapes.items()
        }
        policy = getattr(backbone, "compute_dtype", None)
        grid = backbone(images)
        if len(shape) == 4:
            grid = keras.layers.Reshape((-1, shape[-1]), name="tokens")(grid)
        tokens = RegionTokens(
            self_regions, grid_size, name="region_tokens", dtype=policy and grid.dtype
        )(grid, **inputs)
        # With the grid alone it is called as any backbone is.
        super().__init__({"images": images, **inputs} if inputs else images, tokens, name=name)
        self.backbone = backbone
        self.regions = self_regions
        self.region_shapes = region_shapes
        self.max_regions = max_regions
        self.grid_size = tuple(grid_size)

    @property
    def frozen(self):
        """Whether no weight learns."""
        return not self.trainable_weights

    @property
    def architecture(self):
        """The backbone's architecture, where it names one."""
        return getattr(self.backbone, "architecture", None)

    @property
    def network(self):
        """The backbone's network, where it has one."""
        return getattr(self.backbone, "network", None)

    def fingerprint(self):
        """Returns a hex digest of the backbone, and what is made of it."""
        return f"{'-'.join(self.regions)}{self.max_regions}-{self.backbone.fingerprint()}"

    def thawed(self, trainable_from, **changes):
        """Returns a copy whose backbone has other layers that learn; see ``Backbone.thawed``.

        Args:
            trainable_from: as for ``Backbone``.
            **changes: as for ``Backbone.thawed``.

        Returns:
            A ``RegionEncoder``.
        """
        backbone = self.backbone.thawed(trainable_from, **changes)
        return RegionEncoder(backbone, self.regions, max_regions=self.max_regions, name=self.name)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving; weights are saved apart."""
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "regions": list(self.regions),
            "max_regions": self.max_regions,
            "grid_size": list(self.grid_size),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the encoder that ``get_config`` described."""
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


def _geometry(boxes, area=None):
    """Returns the seven numbers [B,R,7] of boxes [B,R,4]."""
    size = boxes[..., 2:] - boxes[..., :2]
    area = size[..., :1] * size[..., 1:] if area is None else area[..., None]
    return ops.concatenate([boxes, size, area], axis=-1)


def _hats(start, end, side):
    """Returns the weights [B,R,side] of cells in the mean of P samples from ``start`` to ``end``.

    A sample between the middles of two cells takes a share of both; beyond the outermost middles
    it takes the outermost cell.
    """
    steps = ops.convert_to_tensor((np.arange(SAMPLES) + 0.5) / SAMPLES, start.dtype)
    places = start[..., None] + (end - start)[..., None] * steps
    places = ops.clip(places * side - 0.5, 0, side - 1)
    cells = ops.convert_to_tensor(np.arange(side), start.dtype)
    hats = ops.maximum(1 - ops.abs(places[..., None] - cells), 0)
    return ops.mean(hats, axis=-2)


def _overlaps(side):
    """Returns the share [side,S] of each cell's extent that each pixel of a mask has."""
    edges, pixels = np.arange(side + 1) / side, np.arange(MASK_SIDE + 1) / MASK_SIDE
    ends = np.minimum(edges[1:, None], pixels[None, 1:])
    starts = np.maximum(edges[:-1, None], pixels[None, :-1])
    return np.maximum(ends - starts, 0) * side


def _bounds(masks):
    """Returns the boxes [B,R,4] around masks [B,R,S,S]; zeros around nothing."""
    pixels = np.arange(MASK_SIDE)
    found = []
    for axis in (3, 2):
        filled = ops.max(masks, axis=axis) > 0
        first = ops.convert_to_tensor(MASK_SIDE - pixels, masks.dtype)
        last = ops.convert_to_tensor(pixels + 1, masks.dtype)
        lowest = MASK_SIDE - ops.max(ops.where(filled, first, 0), axis=-1)
        highest = ops.max(ops.where(filled, last, 0), axis=-1)
        found.append((ops.minimum(lowest, highest) / MASK_SIDE, highest / MASK_SIDE))
    (y0, y1), (x0, x1) = found
    return ops.stack([y0, x0, y1, x1], axis=-1)


def _cell_boxes(height, width):
    """Returns the boxes [h*w,4] of a grid's cells."""
    y, x = (part.ravel() for part in np.mgrid[:height, :width])
    return np.stack([y / height, x / width, (y + 1) / height, (x + 1) / width], axis=-1)
