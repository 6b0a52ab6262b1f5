"""A million vectors on two cores: a graph's speed and recall beside exact search, in one run.

    pip install '.[search]'
    python benchmarks/search.py --folder runs/search --plot search.png
    python benchmarks/search.py --folder runs/real --vectors embeddings.npy

The claim: at a million vectors of width 768, the published retriever's, ``VectorIndex`` finds at
least 95% of the ten nearest (recall@10) at 20 times the queries a second of ``kind="flat"``, or
more, with its defaults. Flat is no straw man: it is a BLAS product of a thousand queries at a time,
which one query at a time is not; both are printed. Why a graph is faster: it compares a query with
some thousand vectors.

The indexes grow to each size in turn, in FOLDER; a run that is killed goes on from what is there,
and ``figures-SIZE.json`` keeps what was measured (remove the last one to measure it again).
Where other programs run beside it, BLAS suffers most, for its threads wait for each other: then set
``OPENBLAS_NUM_THREADS=1`` and compare queries a core-second, which leave out waiting.
Each measurement is a process of its own, and its memory is what it takes beyond its imports; the
pages of mapped files, which the system may take back at any time, are counted.

Vectors are drawn like embeddings of pictures, which are not Gaussian in all directions (a graph is
then nearly useless, and so are neighbours): 2,000 clusters of uneven size in 32 latent dimensions,
bent into the full width by a random layer of tanh, with noise of a tenth in every direction. Pope
et al. 2021 (https://arxiv.org/abs/2104.08894) find an intrinsic dimension of 26 to 43 in
ImageNet's pictures. The estimate of Levina and Bickel (2004) for what was drawn is printed. Or
``--vectors`` takes embeddings, and extends them by points between near neighbours. Queries are
drawn like the vectors and are not among them.
"""

import argparse
import contextlib
import json
import multiprocessing
import pathlib
import resource
import sys
import time

import keras
import numpy as np

from keras_vlm.core.files import write_json
from keras_vlm.search import VectorIndex
from keras_vlm.search.exact import exact_search

KINDS = ("flat", "hnsw", "hnsw_int8")
BATCH, K, QUERY_PART = 10_000, 10, 10**6
# Of a cluster on paper: memory of a machine, and how much of it may be used.
HOST_GIB, HOST_FULL = 128, 0.75
CLUSTERS, LATENT, POOL = 2000, 32, 20_000


def embeddings(dim, vectors_path):
    """Returns a function (count, part) -> float32 [count,D]; parts are different draws."""
    if vectors_path:
        return extended(vectors_path)
    shape = np.random.default_rng(0)
    centers = shape.standard_normal((CLUSTERS, LATENT), np.float32)
    inner = shape.standard_normal((LATENT, 4 * LATENT), np.float32) / np.sqrt(LATENT)
    outer = shape.standard_normal((4 * LATENT, dim), np.float32) / np.sqrt(4 * LATENT)
    sizes = 1 / np.sqrt(np.arange(1, CLUSTERS + 1))

    def draw(count, part):
        random = np.random.default_rng((1, part))
        latent = centers[random.choice(CLUSTERS, count, p=sizes / sizes.sum())]
        latent = latent + 0.6 * random.standard_normal((count, LATENT), np.float32)
        vectors = np.tanh(latent @ inner) @ outer
        return vectors + 0.1 * vectors.std() * random.standard_normal((count, dim), np.float32)

    return draw


def extended(path):
    """Returns the same for embeddings of a file [n,D]: points between near neighbours."""
    pool = np.load(path, mmap_mode="r")
    chosen = np.random.default_rng(0).permutation(len(pool))[:POOL]
    pool = np.asarray(pool[np.sort(chosen)], np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    near, _ = exact_search(pool, np.zeros(len(pool), bool), pool, K + 1)

    def draw(count, part):
        random = np.random.default_rng((1, part))
        one = random.integers(len(pool), size=count)
        other = near[one, random.integers(1, near.shape[1], size=count)]
        weight = random.random((count, 1), np.float32)
        vectors = weight * pool[one] + (1 - weight) * pool[other]
        noise = 0.1 / np.sqrt(pool.shape[1])
        return vectors + noise * random.standard_normal(vectors.shape, np.float32)

    return draw


def apart(function, *arguments):
    """Runs a function in a process of its own, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_mb():
    """Returns the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grow(folder, kind, size, source):
    """Adds vectors until there are ``size``; returns what all additions took, seconds and MB."""
    draw, kept, path = embeddings(*source), folder / f"{kind}-additions.json", folder / kind
    took = json.loads(kept.read_text()) if kept.exists() else {"seconds": 0, "mb": 0}
    before = peak_mb()

    def add_time(began):
        took["seconds"] += time.perf_counter() - began
        took["mb"] = max(took["mb"], peak_mb() - before)
        write_json(kept, took)

    if path.exists():
        index = VectorIndex.open(path)
    else:
        index = VectorIndex.create(path, draw(1, 0).shape[1], kind=kind)
    progress = keras.utils.Progbar(size, unit_name="vector")
    with index:
        while len(index) < size:
            first = len(index)
            count = min(BATCH - first % BATCH, size - first)
            vectors = draw(count, first)
            began = time.perf_counter()
            index.add([f"picture-{first + i}.jpg" for i in range(count)], vectors)
            add_time(began)
            with contextlib.redirect_stdout(sys.stderr):
                progress.update(len(index))
        began = time.perf_counter()
    add_time(began)
    return took


def ask(folder, kind, source, queries, expansion):
    """Returns keys, scores, and what is measured: queries a second, memory."""
    vectors, before = embeddings(*source)(queries, QUERY_PART), peak_mb()
    with VectorIndex.open(folder / kind) as index:
        keys, scores = index.search(vectors, K, expansion=expansion)
        times, core_times = [], []
        for _ in range(1 if kind == "flat" else 5):
            began, core_began = time.perf_counter(), time.process_time()
            index.search(vectors, K, expansion=expansion)
            times.append(time.perf_counter() - began)
            core_times.append(time.process_time() - core_began)
        began, singles = time.perf_counter(), 10 if kind == "flat" else 200
        for i in range(singles):
            index.search(vectors[i : i + 1], K, expansion=expansion)
        alone = singles / (time.perf_counter() - began)
    return (
        keys,
        scores,
        {
            "per_second": queries / float(np.median(times)),
            "per_core_second": queries / float(np.median(core_times)),
            "alone_per_second": alone,
            "search_mb": peak_mb() - before,
        },
    )


def recall(keys, truth):
    """Returns the part of the true neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(keys, truth, strict=True)]))


def intrinsic_dimension(scores):
    """Estimates the dimension in which neighbours lie, from their cosines [q,K] (Levina 2004)."""
    distances = np.sqrt(np.maximum(2 - 2 * scores.astype(np.float64), 1e-12))
    return float(1 / np.mean(np.log(distances[:, -1:] / distances[:, :-1])))


def file_bytes(path, start):
    """Returns the bytes of an index's files whose names start with ``start``."""
    return sum(file.stat().st_size for file in path.iterdir() if file.name.startswith(start))


def measure(folder, size, source, queries, expansion):
    """Grows the indexes to a size and measures them; returns a dict by kind."""
    figures, truth = {}, None
    for kind in KINDS:
        took = apart(grow, folder, kind, size, source)
        keys, scores, measured = apart(ask, folder, kind, source, queries, expansion)
        truth = truth or keys
        figures[kind] = {
            "size": size, "intrinsic_dimension": intrinsic_dimension(scores),
            "recall": recall(keys, truth), **measured,
            "build_seconds": took["seconds"], "build_mb": took["mb"],
            "vector_bytes": file_bytes(folder / kind, "vectors") / size,
            "key_bytes": file_bytes(folder / kind, ("keys", "rows")) / size,
            "graph_bytes": file_bytes(folder / kind, "graph") / size,
        }  # fmt: skip
    return figures


def print_figures(figures):
    """Prints a table of one size."""
    flat = figures["flat"]
    print(f"{flat['size']:,} vectors, intrinsic dimension {flat['intrinsic_dimension']:.1f}")
    print(
        f"  {'':10s}{'recall@10':>10s}{'q/s':>8s}{'x flat':>8s}{'q/core-s':>10s}{'x flat':>8s}"
        f"{'alone q/s':>11s}{'build s':>9s}{'build MB':>10s}{'search MB':>11s}{'B/vector':>10s}"
    )
    for kind, row in figures.items():
        speed, by_core = row["per_second"], row["per_core_second"]
        print(
            f"  {kind:10s}{row['recall']:10.4f}{speed:8.0f}{speed / flat['per_second']:8.1f}"
            f"{by_core:10.0f}{by_core / flat['per_core_second']:8.1f}"
            f"{row['alone_per_second']:11.1f}{row['build_seconds']:9.0f}"
            f"{row['build_mb']:10.0f}{row['search_mb']:11.0f}{disk_bytes(row):10.0f}",
            flush=True,
        )


def disk_bytes(row):
    """Returns the bytes of a vector on disk."""
    return row["vector_bytes"] + row["key_bytes"] + row["graph_bytes"]


def print_on_paper(figures, dim):
    """Prints what 10^9 vectors take, from the measured bytes of one."""
    giga = 1e9 / 2**30
    print("10^9 vectors, on paper:")
    for kind in ("hnsw", "hnsw_int8"):
        row = figures[kind]
        days = row["build_seconds"] / row["size"] * 1e9 / 86400
        print(
            f"  {kind}: graph of {row['graph_bytes']:.0f} B a vector, "
            f"{row['graph_bytes'] * giga:.0f} GiB of memory; {disk_bytes(row) * giga:.0f} GiB of "
            f"disk; {days:.1f} days to build on one such machine at the measured rate"
        )
    # Qdrant holds the same: int8 and links in memory, float32 on disk.
    graph = figures["hnsw_int8"]["graph_bytes"]
    for copies in (1, 2):
        memory = copies * graph * giga
        hosts = int(np.ceil(memory / (HOST_FULL * HOST_GIB)))
        print(
            f"  Qdrant, {copies} cop{'y' if copies == 1 else 'ies'}: int8 {dim} B + links "
            f"{graph - dim:.0f} B = {memory:.0f} GiB of memory on {hosts} machines of {HOST_GIB} "
            f"GiB, {HOST_FULL:.0%} full; float32 {copies * 4 * dim * giga:.0f} GiB of disk"
        )


def plot(path, sizes, figures, title):
    """Draws queries a second by size, with each point's recall."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for kind, colour, offset in (
        ("hnsw_int8", "tab:green", 9), ("hnsw", "tab:blue", -16), ("flat", "tab:grey", -16),
    ):  # fmt: skip
        speeds = [row[kind]["per_second"] for row in figures]
        last = figures[-1][kind]
        label = f"{kind}: {disk_bytes(last):,.0f} bytes a vector on disk"
        if kind != "flat":
            label += f", built in {last['build_seconds'] / 60:.0f} min"
        axes.loglog(sizes, speeds, "o-", color=colour, label=label)
        for size, speed, row in zip(sizes, speeds, figures, strict=True):
            axes.annotate(
                f"{speed:,.0f}/s, recall {row[kind]['recall']:.3f}", (size, speed),
                xytext=(0, offset), textcoords="offset points", ha="center", color=colour,
                fontsize=8,
            )  # fmt: skip
    axes.margins(x=0.15, y=0.15)
    axes.set(xlabel="vectors in the index", ylabel="queries a second (ten nearest)", title=title)
    axes.grid(which="major", alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for the indexes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--dim", type=int, default=768, help="width of drawn vectors")
    parser.add_argument("--vectors", help="embeddings, an .npy file [n,D], in place of drawn ones")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--expansion", type=int, default=48, help="of the search")
    parser.add_argument("--plot", help="a PNG file to write")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    source = (options.dim, options.vectors)
    figures = []
    for size in options.sizes:
        done = options.folder / f"figures-{size}.json"
        if not done.exists():
            write_json(
                done, measure(options.folder, size, source, options.queries, options.expansion)
            )
        figures.append(json.loads(done.read_text()))
        print_figures(figures[-1])
    print_on_paper(figures[-1], VectorIndex.open(options.folder / "flat").dim)
    if options.plot:
        what = options.vectors or f"drawn vectors of width {options.dim}"
        plot(options.plot, options.sizes, figures, f"Exact and approximate search, {what}")


if __name__ == "__main__":
    main()
