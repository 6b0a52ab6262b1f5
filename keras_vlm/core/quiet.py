"""Keeps TensorFlow's start-up notes from people who type ``keras-vlm``.

They are written while TensorFlow is imported, so this comes first, and only where the program is
the command line: what a notebook or a server shows is its owner's business. Errors reach people as
Python exceptions, or with ``--debug``.
"""

import os
import pathlib
import sys

if pathlib.Path(sys.argv[0]).stem == "keras-vlm" and "--debug" not in sys.argv:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
