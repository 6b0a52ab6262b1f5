"""What all tests share without asking for it."""

import gc

import tensorflow as tf


def pytest_configure():
    """Graphs run as they were traced: to optimise them first is a seventh of all time.

    What a test starts in a process of its own runs as it does for users.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_finish(session):
    """Keeps what has been imported out of garbage collection, which takes a tenth of all time."""
    gc.collect()
    gc.freeze()
