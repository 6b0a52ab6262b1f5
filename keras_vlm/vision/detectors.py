"""Detectors and segmenters of other makers, as plain functions of images.

Contract: a detector is ``images [b,H,W,3] float32 0..255 -> boxes, labels, scores``, a row a
picture, boxes (y0, x0, y1, x1) in 0..1; a segmenter is ``images -> label map [b,h,w] int``, 0 for
no segment. Refuses to know data sets. Dimension letters: b pictures, H height, W width, h and w the
label map's sides, n boxes.
"""

import numpy as np
import tensorflow as tf


def keras_hub_detector(detector, *, batch_size=8):
    """Makes a detector of a KerasHub object detector.

    Args:
        detector: a ``keras_hub.models.ObjectDetector`` with its preprocessor, such as
            ``RetinaNetObjectDetector.from_preset(...)``, whose boxes are ``"yxyx"`` or ``"xyxy"``
            in pixels, or ``"rel_yxyx"`` or ``"rel_xyxy"``. It pads what is not square: give it
            square pictures.
        batch_size: pictures a forward pass.

    Returns:
        A function as in the contract; labels are class numbers.

    Raises:
        ValueError: the boxes have another format.
    """
    boxed = detector.bounding_box_format
    if boxed not in {"yxyx", "xyxy", "rel_yxyx", "rel_xyxy"}:
        raise ValueError(
            "keras_hub_detector: bounding_box_format must be yxyx, xyxy, rel_yxyx or rel_xyxy, got "
            f"{boxed!r}. Pass it to from_preset."
        )

    def detect(images):
        found = detector.predict(np.asarray(images), batch_size=batch_size, verbose=0)
        boxes = np.asarray(found["boxes"], np.float32)
        if not boxed.startswith("rel_"):
            # Boxes are in pixels of what the network sees, to which it stretches a square picture.
            seen = getattr(getattr(detector, "preprocessor", None), "image_size", None)
            height, width = seen or np.shape(images)[1:3]
            sides = [height, width] if boxed == "yxyx" else [width, height]
            boxes = boxes / np.array(sides * 2, np.float32)
        if boxed.endswith("xyxy"):
            boxes = boxes[..., [1, 0, 3, 2]]
        scores = found["confidence"] if "confidence" in found else found["scores"]
        return _cut(boxes, found["labels"], scores, found["num_detections"])

    return detect


def saved_model_detector(path):
    """Makes a detector of a SavedModel of the TensorFlow Object Detection API or of TF-Hub.

    Its signature takes uint8 [b,H,W,3] and gives ``detection_boxes`` [b,n,4] (y0, x0, y1, x1) in
    0..1, ``detection_scores``, ``detection_classes`` and perhaps ``num_detections``; it is called
    with one picture at a time, as most of them want it.

    Args:
        path: the SavedModel's folder.

    Returns:
        A function as in the contract; labels are class numbers.

    Raises:
        ValueError: the SavedModel has no such signature.
    """
    loaded = tf.saved_model.load(str(path))
    call = loaded.signatures.get("serving_default")
    wanted = {"detection_boxes", "detection_scores", "detection_classes"}
    if call is None or not wanted <= set(call.structured_outputs):
        found = sorted(call.structured_outputs) if call else "no serving_default"
        raise ValueError(
            f"{path}: the signature serving_default must give {', '.join(sorted(wanted))}, got "
            f"{found}."
        )
    [argument] = call.structured_input_signature[1]

    def detect(images):
        rows = []
        for image in tf.saturate_cast(tf.round(images), tf.uint8):
            found = {key: value.numpy() for key, value in call(**{argument: image[None]}).items()}
            count = found.get("num_detections", [found["detection_scores"].shape[1]])
            classes = found["detection_classes"].astype(int)
            [row] = zip(
                *_cut(found["detection_boxes"], classes, found["detection_scores"], count),
                strict=True,
            )
            rows.append(row)
        # Tracked: its variables live as long as the function.
        detect.loaded = loaded
        return tuple(map(list, zip(*rows, strict=True)))

    return detect


def keras_hub_segmenter(segmenter, *, background=0, batch_size=8):
    """Makes a segmenter of a KerasHub image segmenter.

    Args:
        segmenter: a ``keras_hub.models.ImageSegmenter`` with its preprocessor, which gives a score
            [b,h,w,classes] a pixel and class.
        background: the class that is no segment, or None where every class is one, as in ADE20K,
            whose class 0 is the wall.
        batch_size: pictures a forward pass.

    Returns:
        A function as in the contract. Segments are numbered by their class; one higher where
        ``background`` is not 0.
    """

    def segment(images):
        scores = segmenter.predict(np.asarray(images), batch_size=batch_size, verbose=0)
        classes = np.argmax(scores, axis=-1)
        return classes if background == 0 else np.where(classes == background, 0, classes + 1)

    return segment


def _cut(boxes, labels, scores, counts):
    """Returns lists of the first ``counts`` boxes, labels and scores of each picture."""
    counts = [int(count) for count in np.ravel(counts)]
    return tuple(
        [np.asarray(row)[:count] for row, count in zip(part, counts, strict=True)]
        for part in (boxes, labels, scores)
    )
