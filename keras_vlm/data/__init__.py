"""Floor 2: data sources, and the tf.data pipelines that make batches of them."""

from keras_vlm.data.sources import load_data as load_data
