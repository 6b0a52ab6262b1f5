"""What all tests share without asking for it."""

import gc


def pytest_configure(config):
    """The quick run takes graphs as they were traced: to optimise them is a seventh of its time.

    The slow one, and what a test starts in a process of its own, run as they do for users.
    """
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests and config.option.markexpr == "not slow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_finish(session):
    """Keeps what has been imported out of garbage collection, which takes a tenth of all time."""
    gc.collect()
    gc.freeze()
