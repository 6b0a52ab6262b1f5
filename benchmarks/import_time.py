"""What `import keras_vlm` costs over `import keras`, in processes of their own, in turns.

    python benchmarks/import_time.py [--repeats 5]

Data sets, plots and pictures' libraries are imported where they are used, not here.
"""

import argparse
import statistics
import subprocess
import sys
import time


def import_seconds(module):
    """Returns how long a process takes that imports a module and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
    return time.perf_counter() - began


def main():
    """Prints both medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="imports of each (default: 5)")
    repeats = parser.parse_args().repeats
    seconds = {"keras": [], "keras_vlm": []}
    for _ in range(repeats + 1):
        for module, found in seconds.items():
            found.append(import_seconds(module))
    # The first of each only warms the disk's cache.
    medians = {module: statistics.median(found[1:]) for module, found in seconds.items()}
    for module, median in medians.items():
        print(f"import {module:10s} {median:6.2f} s")
    print(f"difference        {medians['keras_vlm'] - medians['keras']:6.2f} s")


if __name__ == "__main__":
    main()
