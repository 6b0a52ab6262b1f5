"""Writing files so that a crash or a full disk never leaves half of one behind.

Refuses to know what is in the file.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile

# Names of what is being written, and of what a kill has left of it, begin so.
WRITING = ".writing-"


@contextlib.contextmanager
def replace_file(path):
    """Yields a temporary path beside ``path``; renames it onto ``path`` if the block succeeds.

    Args:
        path: the final path; missing parent folders are made. The temporary name keeps its
            suffixes, because some writers choose a format by them.

    Yields:
        A ``pathlib.Path`` to write to.

    Raises:
        OSError: the folder cannot be written or the disk is full; ``path`` is untouched.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{WRITING}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path, *, overwrite=False):
    """Yields a temporary folder beside ``path``; renames it to ``path`` if the block succeeds.

    Args:
        path: the final folder.
        overwrite: whether a folder that is there already (and not empty) is replaced.

    Yields:
        A ``pathlib.Path`` of an empty folder to write into.

    Raises:
        FileExistsError: ``path`` exists, is not empty, and ``overwrite`` is False.
        OSError: the folder cannot be written or the disk is full; ``path`` is untouched.
    """
    path = pathlib.Path(path)
    check_output_folder(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f"{WRITING}{path.name}-", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        old = temporary.with_name(f"{temporary.name}-old")
        # Away in one step: half of a folder that was killed within would be no folder of its kind.
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output_folder(path, *, overwrite=False):
    """Raises unless ``path`` can become a new folder.

    Args:
        path: the folder about to be written.
        overwrite: whether one that is there already may be replaced.

    Raises:
        FileExistsError: ``path`` is a file, or a folder with something in it that may not be
            replaced.
    """
    path = pathlib.Path(path)
    if path.is_file():
        raise FileExistsError(f"{path} is a file. Choose another output folder.")
    there = path.iterdir() if path.is_dir() and not overwrite else ()
    if any(not found.name.startswith(WRITING) for found in there):
        raise FileExistsError(
            f"{path} exists and is not empty. Choose another folder, or pass overwrite=True "
            "(--overwrite on the command line)."
        )


def take_lock(path, problem):
    """Makes this the only process, or part of one, that holds a lock file.

    Args:
        path: the lock file; it is made, and stays.
        problem: what is said where another holds it.

    Returns:
        A file descriptor: who closes it gives the lock back, and so does the system when the
        process ends, however it ends.

    Raises:
        BlockingIOError: another holds it.
        OSError: the folder cannot be written.
    """
    import fcntl  # Not on Windows, where the rest of the package works.

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        raise BlockingIOError(problem) from error
    return descriptor


def write_json(path, value):
    """Writes ``value`` as indented UTF-8 JSON, atomically.

    Args:
        path: the file to write.
        value: anything that ``json.dumps`` takes.
    """
    with replace_file(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
