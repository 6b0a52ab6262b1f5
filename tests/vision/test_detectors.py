"""Detectors and segmenters of other makers: what they say becomes regions of our form."""

import types

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import detect_regions, load_data
from keras_vlm.vision.detectors import (
    keras_hub_detector,
    keras_hub_segmenter,
    saved_model_detector,
)

IMAGES = np.zeros((2, 40, 80, 3), np.float32)
# y0, x0, y1, x1 as shares; the second picture has one box.
SHARES = np.array([[[0.1, 0.2, 0.5, 0.75], [0, 0, 1, 1]], [[0.5, 0, 1, 0.25], [0, 0, 0, 0]]])


def stand_in(boxed, boxes, image_size=None):
    """What of a KerasHub detector is used."""
    found = {
        "boxes": boxes,
        "labels": np.array([[3, 1], [2, -1]]),
        "confidence": np.array([[0.9, 0.8], [0.7, -1.0]]),
        "num_detections": np.array([2, 1]),
    }
    return types.SimpleNamespace(
        bounding_box_format=boxed,
        preprocessor=types.SimpleNamespace(image_size=image_size),
        predict=lambda images, **options: found,
    )


@pytest.mark.parametrize("image_size", [None, (100, 100)])
@pytest.mark.parametrize("boxed", ["yxyx", "xyxy", "rel_yxyx", "rel_xyxy"])
def test_boxes_of_keras_hub_are_shares(boxed, image_size):
    height, width = image_size or (40, 80)
    boxes = SHARES if boxed.startswith("rel_") else SHARES * ([height, width] * 2)
    boxes = boxes[..., [1, 0, 3, 2]] if boxed.endswith("xyxy") else boxes
    found, labels, scores = keras_hub_detector(stand_in(boxed, boxes, image_size))(IMAGES)
    np.testing.assert_allclose(found[0], SHARES[0], atol=1e-6)
    np.testing.assert_allclose(found[1], SHARES[1][:1], atol=1e-6)
    assert [each.tolist() for each in labels] == [[3, 1], [2]]
    assert [each.tolist() for each in scores] == [[0.9, 0.8], [0.7]]


def test_another_format_of_boxes_is_refused():
    with pytest.raises(ValueError, match="bounding_box_format must be yxyx, .* got 'center_xywh'"):
        keras_hub_detector(stand_in("center_xywh", SHARES))


@pytest.mark.parametrize(
    ("background", "expected"), [(0, [0, 1, 2]), (None, [1, 2, 3]), (1, [1, 0, 3])]
)
def test_segments_are_numbered_by_class(background, expected):
    scores = np.eye(3)[None, None]
    segmenter = types.SimpleNamespace(predict=lambda images, **options: scores)
    found = keras_hub_segmenter(segmenter, background=background)(IMAGES[:1])
    assert found.tolist() == [[expected]]


class Detector(tf.Module):
    """As the Object Detection API exports one: finds the bright half of one picture."""

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8, name="input_tensor")])
    def detect(self, image):
        right = tf.reduce_mean(tf.cast(image[:, :, tf.shape(image)[2] // 2 :], tf.float32)) > 99
        box = tf.where(right, [0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5])
        return {
            "detection_boxes": tf.stack([box, tf.zeros(4)])[None],
            "detection_scores": tf.constant([[0.9, 0.1]]),
            "detection_classes": tf.constant([[7.0, 1.0]]),
            "num_detections": tf.constant([1.0]),
        }


def test_a_saved_model_detects(tmp_path):
    module = Detector()
    tf.saved_model.save(module, str(tmp_path / "found"), {"serving_default": module.detect})
    images = IMAGES.copy()
    images[0, :, 40:] = 255
    images[1, :, :40] = 255
    boxes, labels, scores = saved_model_detector(tmp_path / "found")(images)
    assert [each.tolist() for each in boxes] == [[[0, 0.5, 1, 1]], [[0, 0, 1, 0.5]]]
    assert [each.tolist() for each in labels] == [[7], [7]]
    np.testing.assert_allclose(scores, [[0.9], [0.9]])
    # As a source of regions.
    examples = load_data("scenes:20")["val"]
    found = detect_regions(examples, saved_model_detector(tmp_path / "found"))
    for each in found.dataset().as_numpy_iterator():
        assert each["boxes"].tolist() in ([[0, 0.5, 1, 1]], [[0, 0, 1, 0.5]])
        assert each["labels"].tolist() == [b"7"]
    tf.saved_model.save(tf.Module(), str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="must give .* got no serving_default"):
        saved_model_detector(tmp_path / "nothing")
