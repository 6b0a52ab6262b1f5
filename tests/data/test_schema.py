import pytest
import tensorflow as tf

from keras_vlm.data.schema import EXAMPLE_FIELDS, REQUIRED_FIELDS, check_example_spec


def test_the_whole_schema_is_an_example():
    assert check_example_spec("here", EXAMPLE_FIELDS) is EXAMPLE_FIELDS


@pytest.mark.parametrize("key", REQUIRED_FIELDS)
def test_a_missing_key_is_named(key):
    spec = {name: EXAMPLE_FIELDS[name] for name in REQUIRED_FIELDS if name != key}
    with pytest.raises(ValueError, match=f"here: key '{key}' is missing.*found '"):
        check_example_spec("here", spec)


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="here: key 'caption' is unknown.*'captions'"):
        check_example_spec("here", {**EXAMPLE_FIELDS, "caption": tf.TensorSpec([], tf.string)})


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("index", tf.TensorSpec([], tf.int32)),
        ("captions", tf.TensorSpec([], tf.string)),
        ("boxes", tf.TensorSpec([None, 5], tf.float32)),
    ],
)
def test_another_type_or_shape_is_an_error(key, spec):
    with pytest.raises(ValueError, match=f"here: {key} must be .*got "):
        check_example_spec("here", {**EXAMPLE_FIELDS, key: spec})


def test_a_known_number_of_captions_is_fine():
    check_example_spec("here", {**EXAMPLE_FIELDS, "captions": tf.TensorSpec([5], tf.string)})
