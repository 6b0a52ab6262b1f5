"""100,000 pictures through ``keras-vlm data`` and ``--convert``, killed once and resumed.

    python benchmarks/many_pictures.py DIR --pictures 100000 --work /tmp/many

Links to the pictures of DIR stand for many. Memory is the most that the process holds, beside what
it holds for a tenth of the pictures. The conversion is killed when half of its shards are there and
started again; then every picture is read back, and must be there once, byte for byte. On 2026-11-29
with Flickr8k's pictures: 744 MB for 10,000, 909 MB for 100,000 (names, captions and hashes, 1.8 kB
a picture); the conversion 849 MB; killed at 50 of 100 shards; nothing lost, doubled or changed.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_vlm.data import load_data
from keras_vlm.data.image_files import find_pictures

SHARD_PICTURES = 1000


def make_folder(folder, sources, count):
    """Links ``count`` pictures, nine tenths of them in the split train."""
    folder.mkdir(parents=True)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            name = f"{number:06d}{sources[number % len(sources)].suffix.lower()}"
            os.link(sources[number % len(sources)], folder / name)
            split = "val" if number % 10 == 0 else "train"
            record = {"image": name, "captions": [f"picture number {number}"], "split": split}
            file.write(json.dumps(record) + "\n")


def run(arguments, stop=None):
    """Runs ``keras-vlm data`` and returns its output, its greatest memory in MB and its seconds.

    Args:
        arguments: list of strings.
        stop: function without arguments; the process is killed when it returns true.
    """
    start, most = time.perf_counter(), 0.0
    code = "from keras_vlm.cli.main import main; main()"
    command = [sys.executable, "-c", code, "data", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.set_blocking(process.stdout.fileno(), False)
    output, killed = b"", False
    while process.poll() is None:
        most = max(most, _memory(process.pid))
        output += process.stdout.read() or b""
        if stop is not None and stop():
            os.kill(process.pid, signal.SIGKILL)
            killed = True
        time.sleep(0.2)
    output += process.stdout.read() or b""
    if process.wait() and not killed:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}.")
    return output, most, time.perf_counter() - start


def _memory(pid):
    """Returns the greatest resident memory of a process in MB; 0 where it has ended."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def main():
    """Makes the folders, runs the commands, and counts what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="a folder of pictures")
    parser.add_argument("--pictures", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--work", default="runs/many_pictures", help="folder on the same disk")
    options = parser.parse_args()
    work = pathlib.Path(options.work)
    sources = find_pictures(options.folder)
    for count in (options.pictures // 10, options.pictures):
        folder = work / f"pictures_{count}"
        make_folder(folder, sources, count)
        output, most, seconds = run([f"folder:{folder}", "--json"])
        splits = json.loads(output)["splits"]
        seen = sum(split["pictures"] for split in splits.values())
        broken = sum(len(split["unreadable"]) for split in splits.values())
        print(
            f"data, {count} pictures: {seen} seen, {broken} unreadable, {most:.0f} MB, "
            f"{seconds:.0f} s",
            flush=True,
        )
    out = work / "shards"
    convert = [f"folder:{folder}", "--convert", str(out), "--name", "many"]
    convert += ["--shard-pictures", str(SHARD_PICTURES)]

    def written():
        return len(list(out.glob("many/*/many-*.tfrecord-*-of-*")))

    half = options.pictures // SHARD_PICTURES // 2
    _, most, seconds = run(convert, stop=lambda: written() >= half)
    print(f"convert, killed: {written()} shards, {most:.0f} MB, {seconds:.0f} s", flush=True)
    _, most, seconds = run(convert)
    print(f"convert, resumed: {written()} shards, {most:.0f} MB, {seconds:.0f} s", flush=True)
    data, found, wrong = load_data(f"tfds:many:{out}"), collections.Counter(), 0
    for split in data:
        for example in data[split].dataset().as_numpy_iterator():
            name = example["image_id"].decode("utf-8")
            found[name] += 1
            number = int(name.partition(".")[0])
            wrong += example["captions"].tolist() != [f"picture number {number}".encode()]
            wrong += example["image_bytes"] != (folder / name).read_bytes()
    doubled = sum(times > 1 for times in found.values())
    print(
        f"read back: {len(found)} of {options.pictures} pictures, {doubled} doubled, {wrong} wrong"
    )


if __name__ == "__main__":
    main()
