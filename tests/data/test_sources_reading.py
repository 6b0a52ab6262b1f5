import pytest

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.reading import read_csv, read_json, read_lines, read_text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("é".encode("utf-16"), r":1: the file must be UTF-8, it begins with the mark of UTF-16"),
        (b"\xfe\xff" + "é".encode("utf-16-be"), r":1: .* the mark of UTF-16"),
        (
            "é".encode("utf-32"),
            r":1: .* the mark of UTF-32\. Convert it with: iconv -f UTF-32 -t UTF-8",
        ),
        (
            "a\nb\ncafé\n".encode("latin-1"),
            r":3: the file must be UTF-8, got the byte 0xe9.*LATIN1",
        ),
        ("a\n一只狗".encode("gb18030"), r":2: the file must be UTF-8, got the byte .*GB18030"),
        ("a\nb".encode("utf-16-le"), r":1: the file must be UTF-8 text, got a zero byte.*UTF-16LE"),
    ],
)
def test_other_encodings_are_named_with_their_line(tmp_path, data, message):
    path = tmp_path / "captions.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"captions\.txt" + message):
        read_text(path)


def test_the_advice_converts_the_file(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("café\n".encode("utf-16"))
    path.write_bytes(path.read_bytes().decode("utf-16").encode("utf-8"))
    assert read_text(path) == "café\n"


def test_a_byte_order_mark_of_utf8_is_dropped(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffé".encode())
    assert read_text(path) == "é"


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("one\r\n\n  \nfour\u2028still four\x0cand on\nfive".encode())
    assert read_lines(path) == [
        (f"{path}:1", "one"),
        (f"{path}:4", "four\u2028still four\x0cand on"),
        (f"{path}:5", "five"),
    ]


def test_json_errors_have_line_and_column(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('{\n  "a": 1,\n  "b" 2}')
    with pytest.raises(DataError, match=r"captions\.json:3:7: broken JSON: Expecting ':'"):
        read_json(path)


def test_csv_fields_may_hold_line_breaks(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text('image,caption\na,"one\ntwo"\nb,three\n')
    assert read_csv(path) == [
        (f"{path}:3", {"image": "a", "caption": "one\ntwo"}),
        (f"{path}:4", {"image": "b", "caption": "three"}),
    ]
