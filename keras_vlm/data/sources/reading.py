"""Reading text, JSON and CSV files with errors that name the file, the line and the key.

Refuses to know what the records mean.
"""

import csv
import json
import pathlib

from keras_vlm.core.checks import DataError

BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

KINDS = {str: "a text", list: "a list", int: "a whole number", (int, str): "a number or a text"}


def check_file(path, purpose):
    """Returns ``path`` if there is such a file.

    Args:
        path: a path.
        purpose: what the file is for, such as ``"flickr8k: the captions"``.

    Returns:
        A ``pathlib.Path``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{purpose}: {path} is not there. Check the path.")
    return path


def check_folder(path, purpose):
    """Returns ``path`` if there is such a folder with something in it.

    Args:
        path: a path.
        purpose: what the folder is for, such as ``"flickr8k: the data"``.

    Returns:
        A ``pathlib.Path``.

    Raises:
        DataError: the folder is empty.
        FileNotFoundError: there is no such folder.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{purpose}: {path} is not a folder. Check the path.")
    if not any(path.iterdir()):
        raise DataError(f"{purpose}: the folder {path} is empty.")
    return path


def read_text(path):
    """Reads a UTF-8 text file, with or without a byte order mark.

    Args:
        path: the file.

    Returns:
        A string.

    Raises:
        DataError: the file has another encoding; the message says how to convert it.
    """
    path = pathlib.Path(path)
    data = path.read_bytes()
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise DataError(
                f"{path}:1: the file must be UTF-8, it begins with the mark of {encoding}. "
                f"{_conversion(path, encoding)}"
            )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: the file must be UTF-8, got the byte 0x{data[error.start]:02x}. "
            f"{_conversion(path, 'LATIN1')} (For Chinese, try GB18030 in place of LATIN1.)"
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise DataError(
            f"{path}:{line}: the file must be UTF-8 text, got a zero byte: UTF-16, or not a text. "
            f"{_conversion(path, 'UTF-16LE')}"
        )
    return text


def read_lines(path):
    """Reads the lines of a text file that are not blank.

    Args:
        path: the file.

    Returns:
        List of ``(where, line)``; ``where`` is ``"PATH:NUMBER"``.
    """
    # Not splitlines(): a caption may hold U+2028 or a form feed.
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    return [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def read_json(path):
    """Reads a JSON file.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        DataError: the JSON is broken; the message has file, line and column.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}:{error.colno}: broken JSON: {error.msg}. "
            "Was the file written or downloaded in full?"
        ) from error


def read_json_lines(path):
    """Reads a file with one JSON object a line.

    Args:
        path: the file.

    Returns:
        List of ``(where, object)``.

    Raises:
        DataError: a line is not JSON.
    """
    records = []
    for where, line in read_lines(path):
        try:
            records.append((where, json.loads(line)))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}:{error.colno}: broken JSON: {error.msg}. Each line must be one object."
            ) from error
    return records


def read_csv(path):
    """Reads a CSV file whose first line names the columns.

    Args:
        path: the file; fields apart by commas, or by tabs if the first line has a tab.

    Returns:
        List of ``(where, dict)``.

    Raises:
        DataError: a line has more or fewer fields than the first, or a quotation mark stays open.
    """
    text = read_text(path)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    records, header = [], None
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if header is None:
                header = [name.strip() for name in row]
            elif row and len(row) != len(header):
                raise DataError(
                    f"{where}: the line must have {len(header)} fields, got {len(row)}. "
                    'Put a caption with commas in "quotation marks".'
                )
            elif row:
                records.append((where, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: broken CSV: {error}.") from error
    return records


def get_key(record, key, where, kind=object):
    """Returns ``record[key]``.

    Args:
        record: what should be a dict.
        key: the key.
        where: file and line, or file and place within it.
        kind: class that the value must be an instance of: a key of ``KINDS``.

    Returns:
        The value.

    Raises:
        DataError: ``record`` is not a dict, or lacks the key, or its value is of another class.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: must be an object with the key {key!r}, got {_short(record)}.")
    if key not in record:
        found = ", ".join(repr(name) for name in record) or "no key"
        raise DataError(f"{where}: key {key!r} is missing (found {found}).")
    if not isinstance(record[key], kind):
        raise DataError(f"{where}: {key} must be {KINDS[kind]}, got {_short(record[key])}.")
    return record[key]


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _conversion(path, encoding):
    return f"Convert it with: iconv -f {encoding} -t UTF-8 '{path}' > converted"
