"""What a training run costs: seconds of work and memory, kept beside the run across kills.

Refuses to know models and scores.
"""

import json
import pathlib
import sys
import time

import keras

from keras_vlm.core.files import write_json

try:
    import resource
except ImportError:  # Windows has no such thing.
    resource = None

COST = "cost.json"
# What comes before the first epoch: reading, building, features of the cache, a start's scores.
BEFORE = "-1"


class RunCost(keras.callbacks.Callback):
    """Writes ``cost.json``: the seconds of each epoch and the peak of the process's memory.

    Time between a kill and the resumption is nobody's work and does not count; nor does an epoch
    that a kill threw away, which is run again and written in its place. So the sum is what a run
    takes that nobody kills, and a little more for each time that it was opened anew; less, where a
    kill came while the first features were computed, for these are there already.

    Args:
        folder: where ``cost.json`` goes. The clock starts now, so make it when the work begins.
    """

    def __init__(self, folder):
        super().__init__()
        self._path = pathlib.Path(folder) / COST
        self._since = time.monotonic()
        self._seconds, self._memory = {}, None
        self._last = BEFORE

    def on_train_begin(self, logs=None):
        """Reads what an earlier part of this run has cost; of a new one, notes what came before."""
        if self._path.exists():
            noted = json.loads(self._path.read_text(encoding="utf-8"))
            self._seconds, self._memory = noted["seconds"], noted["peak_memory_mb"]
            self._last = max(self._seconds, key=int)
        else:
            self._note(BEFORE, 0.0)

    def on_epoch_end(self, epoch, logs=None):
        """Notes the epoch, in the place of one that was thrown away."""
        self._seconds = {name: s for name, s in self._seconds.items() if int(name) < epoch}
        self._note(str(epoch), 0.0)

    def on_train_end(self, logs=None):
        """Adds what came after the last epoch, its backup or reading it again, to that epoch."""
        self._note(self._last, self._seconds[self._last])

    def _note(self, name, before):
        now = time.monotonic()
        self._seconds[name] = before + now - self._since
        self._since, self._last = now, name
        found = [peak for peak in (self._memory, peak_memory_mb()) if peak is not None]
        self._memory = max(found, default=None)
        write_json(self._path, {"seconds": self._seconds, "peak_memory_mb": self._memory})


def read_cost(folder):
    """Reads what a run has cost.

    Args:
        folder: the output folder of a run.

    Returns:
        ``(seconds, megabytes)``: the sum over its epochs, and the most memory its process had in
        use, None where the system does not tell; or None for a run that an older version, which
        noted nothing, did in part.
    """
    path = pathlib.Path(folder) / COST
    if not path.exists():
        return None
    noted = json.loads(path.read_text(encoding="utf-8"))
    if set(map(int, noted["seconds"])) != set(range(-1, len(noted["seconds"]) - 1)):
        return None
    return sum(noted["seconds"].values()), noted["peak_memory_mb"]


def peak_memory_mb():
    """Returns the most memory that this process has had in use, in megabytes (1e6 bytes), or None.

    It is the resident set's peak since the process began, whatever it did before.
    """
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes elsewhere.
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
