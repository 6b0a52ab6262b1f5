"""The annotation page: what is written outlives reloads and kills; a browser does the clicks."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.annotate.page import _Page
from keras_vlm.annotate.store import AnnotationStore
from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        image = np.full((60, 80, 3), 60 * number, np.uint8)
        (tmp_path / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(image).numpy())
    return tmp_path


def test_what_is_written_is_a_folder_source(folder):
    store = AnnotationStore(folder)
    assert store.names == ["0.jpg", "1.jpg", "2.jpg"]
    store.write("0.jpg", ["a dog", " ", "it runs "], [(0.1, 0.2, 0.5, 0.6, "dog")])
    store.write("1.jpg", ["a cat"], [])
    store.write("1.jpg", ["a black cat"], [])
    store.write_questions("2.jpg", [("what is it ?", "a bird"), ("unanswered", "")])
    AnnotationStore(folder, language="zh").write("0.jpg", ["一只狗"], store.boxes("0.jpg"))
    again = AnnotationStore(folder)
    assert again.captions("0.jpg") == ["a dog", "it runs"]
    assert again.boxes("0.jpg") == [(0.1, 0.2, 0.5, 0.6, "dog")]
    assert again.captions("1.jpg") == ["a black cat"]
    assert again.questions("2.jpg") == [("what is it ?", "a bird")]
    data = load_data(f"folder:{folder}")
    found = {i: c for split in data.values()
             for i, c in zip(split.image_ids, split.captions, strict=True)}  # fmt: skip
    assert found == {"0.jpg": ["a dog", "it runs"], "1.jpg": ["a black cat"]}
    chinese = load_data(f"folder:{folder}", language="zh")
    assert [split.captions for split in chinese.values()] == [[["一只狗"]]]
    asked = load_data(f"folder:{folder}/questions")
    assert [q.text for split in asked.values() for each in split.questions for q in each] == [
        "what is it ?"
    ]
    again.write("0.jpg", [], [])
    assert AnnotationStore(folder).captions("0.jpg") == []
    assert AnnotationStore(folder, language="zh").captions("0.jpg") == ["一只狗"]


def test_a_file_of_another_form_is_refused(folder):
    (folder / "captions.jsonl").write_text('{"img": "0.jpg"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="captions.jsonl:1: key 'image' is missing"):
        AnnotationStore(folder)


def test_captions_of_another_form_are_taken_over(folder):
    """And pictures in images/, which records call by their name alone, keep that name."""
    (folder / "images").mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").rename(folder / "images" / f"{number}.jpg")
    table = folder / "captions.csv"
    lines = ["image,caption,language", "0.jpg,a dog,en", "0.jpg,it runs,en", "0.jpg,一只狗,zh",
             "1.jpg,a cat,en"]  # fmt: skip
    table.write_text("\n".join(lines), encoding="utf-8")
    before = {name: list(split.image_ids) for name, split in load_data(f"folder:{folder}").items()}
    store = AnnotationStore(folder)
    assert store.names == ["images/0.jpg", "images/1.jpg", "images/2.jpg"]
    assert store.captions("images/0.jpg") == ["a dog", "it runs"]
    assert table.exists()
    store.write("images/1.jpg", ["a black cat"], [(0.1, 0.2, 0.5, 0.6, "cat")])
    assert (folder / "captions.csv.bak").exists()
    assert not table.exists()
    data = load_data(f"folder:{folder}")
    assert {name: list(split.image_ids) for name, split in data.items()} == before
    found = {i: c for split in data.values()
             for i, c in zip(split.image_ids, split.captions, strict=True)}  # fmt: skip
    assert found == {"0.jpg": ["a dog", "it runs"], "1.jpg": ["a black cat"]}
    AnnotationStore(folder).write("images/2.jpg", ["a bird"], [])
    again = AnnotationStore(folder)
    assert again.boxes("images/1.jpg") == [(0.1, 0.2, 0.5, 0.6, "cat")]
    assert again.captions("images/2.jpg") == ["a bird"]
    assert AnnotationStore(folder, language="zh").captions("images/0.jpg") == ["一只狗"]
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["image"] for line in lines} == {"0.jpg", "1.jpg", "2.jpg"}


def test_a_name_that_a_record_has_stays(folder):
    """Records may call some pictures by their name alone and others with images/ before it."""
    (folder / "images").mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").rename(folder / "images" / f"{number}.jpg")
    write_lines(folder / "captions.jsonl", [
        {"image": "0.jpg", "caption": "a dog"}, {"image": "images/1.jpg", "caption": "a cat"},
    ])  # fmt: skip
    store = AnnotationStore(folder)
    assert store.captions("images/0.jpg") == ["a dog"]
    assert store.captions("images/1.jpg") == ["a cat"]
    store.write("images/1.jpg", ["a black cat"], [])
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["image"] for line in lines) == ["0.jpg", "images/1.jpg"]


def write_lines(path, records):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def test_nothing_is_lost_that_the_page_does_not_show(folder):
    """Splits, numbers, types and further answers, also when a text is cleared and typed anew."""
    write_lines(folder / "captions.jsonl", [
        {"image": "0.jpg", "caption": "a dog", "split": "train", "licence": "mine"},
        {"image": "1.jpg", "captions": "a cat", "split": "val", "language": "en"},
    ])  # fmt: skip
    asked = [
        {"image": "../0.jpg", "question": "is 1 = 1?", "answers": ["yes", "no"], "id": "7",
         "question_type": "sum", "split": "train"},
        {"image": "../1.jpg", "question": "how many?", "answer": 2, "split": "val"},
    ]  # fmt: skip
    write_lines(folder / "questions" / "questions.jsonl", asked)
    store = AnnotationStore(folder)
    assert store.captions("1.jpg") == ["a cat"]
    for captions in (["a do"], [], ["a black dog"]):
        store.write("0.jpg", captions, [])
    AnnotationStore(folder, language="zh").write("1.jpg", ["一只猫"], [])
    data = load_data(f"folder:{folder}")
    assert {name: data[name].captions for name in data} == {
        "train": [["a black dog"]], "val": [["a cat"]],
    }  # fmt: skip
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8")
    assert '"licence": "mine"' in lines
    assert list(load_data(f"folder:{folder}", language="zh")) == ["val"]

    page = _Page(None, store, 0)
    shown = [f"{q} = {a}" for q, a in store.questions("0.jpg")]
    page.questions = types.SimpleNamespace(value="\n".join([*shown, "who?=me", "empty"]))
    page.save_questions()
    written = (folder / "questions" / "questions.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in written.splitlines()]
    new = {"image": "../0.jpg", "question": "who?", "answer": "me", "language": "en",
           "split": "train"}  # fmt: skip
    assert records == [asked[1], asked[0], new]
    assert sorted(load_data(f"folder:{folder}/questions")) == ["train", "val"]


def test_questions_of_another_form_are_refused(folder):
    path = folder / "questions" / "questions.jsonl"
    write_lines(path, [{"image": "../0.jpg", "questions": []}])
    with pytest.raises(DataError, match="questions.jsonl:1: key 'question' is missing"):
        AnnotationStore(folder)
    write_lines(path, [{"image": "../0.jpg", "question": "who?"}])
    with pytest.raises(DataError, match="questions.jsonl:1: key 'answer' is missing"):
        AnnotationStore(folder)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command, ready):
    """A process that is there once ``ready()`` is true; killed at the end."""
    environment = {**os.environ, "NICEGUI_SCREEN_TEST_PORT": ""}
    environment.pop("NICEGUI_SCREEN_TEST_PORT")
    environment.pop("PYTEST_CURRENT_TEST", None)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        try:
            for _ in range(600):
                if ready():
                    break
                assert child.poll() is None, "the process has ended"
                time.sleep(0.1)
            else:
                pytest.fail("the process does not answer")
            yield child
        finally:
            child.send_signal(signal.SIGKILL)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read()
    except OSError:
        return None


class Browser:
    """Chromium by its own protocol: opens pages, types, drags, takes pictures."""

    def __init__(self, port):
        import websockets.sync.client

        [page] = [each for each in json.loads(answers(f"http://127.0.0.1:{port}/json"))
                  if each["type"] == "page"]  # fmt: skip
        self.stack = contextlib.ExitStack()
        connection = websockets.sync.client.connect(page["webSocketDebuggerUrl"], max_size=None)
        self.socket = self.stack.enter_context(connection)
        self.count = 0

    def __call__(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=30))
            if answer.get("id") == self.count:
                return answer.get("result", {})

    def script(self, code):
        found = self("Runtime.evaluate", expression=code, returnByValue=True)
        return found["result"].get("value")

    def wait(self, code):
        for _ in range(300):
            if self.script(code):
                return
            time.sleep(0.1)
        pytest.fail(f"never true: {code}; the page says {self.script('document.body.innerText')}")

    def drag(self, start, end):
        for kind, (x, y) in (("mousePressed", start), ("mouseReleased", end)):
            self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_a_browser_writes_captions_and_a_box(folder, tmp_path_factory):
    pytest.importorskip("nicegui", reason="nicegui is not installed (extra 'ui')")
    pytest.importorskip("websockets", reason="websockets is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    port, debugging = free_port(), free_port()
    url = f"http://127.0.0.1:{port}/?number=1"
    command = [sys.executable, "-m", "keras_vlm.cli.main", "annotate", str(folder),
               "--port", str(port), "--no-browser"]  # fmt: skip
    flags = ["headless", "no-sandbox", "disable-gpu", "window-size=1200,800",
             f"remote-debugging-port={debugging}", "remote-allow-origins=*",
             f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]  # fmt: skip
    chromium = [CHROMIUM, *(f"--{flag}" for flag in flags), "about:blank"]
    with (
        running(command, lambda: answers(url)) as server,
        running(chromium, lambda: answers(f"http://127.0.0.1:{debugging}/json/version")),
    ):
        browser = Browser(debugging)
        browser("Page.navigate", url=url)
        browser.wait("document.querySelectorAll('textarea').length == 2")
        # Loaded, and laid out by its own aspect: what the mouse hits is where it stays.
        browser.wait(
            "(i => i && i.naturalWidth == 80 && i.width > 100 &&"
            " Math.abs(i.width / i.height - 4 / 3) < 0.02)(document.querySelector('img'))"
        )
        browser.script("document.querySelector('textarea').focus()")
        browser("Input.insertText", text="a grey square\nnothing but grey")
        corners = json.loads(browser.script(
            "JSON.stringify((r => [r.x, r.y, r.width, r.height])"
            "(document.querySelector('img').getBoundingClientRect()))"
        ))  # fmt: skip
        x, y, width, height = corners
        time.sleep(0.5)
        browser.drag((x + 0.25 * width, y + 0.5 * height), (x + 0.75 * width, y + 0.9 * height))
        path = pathlib.Path(folder) / "captions.jsonl"
        wanted = ["a grey square", "nothing but grey"]

        def written():
            store = AnnotationStore(folder)
            return store.captions("1.jpg") == wanted and len(store.boxes("1.jpg")) == 1

        for _ in range(100):
            if path.exists() and written():
                break
            time.sleep(0.1)
        assert written(), path.read_text(encoding="utf-8")
        browser.stack.close()
        # A kill of the server loses nothing: it is on disk already.
        server.send_signal(signal.SIGKILL)
    assert written()
    [box] = AnnotationStore(folder).boxes("1.jpg")
    np.testing.assert_allclose(box[:4], [0.5, 0.25, 0.9, 0.75], atol=0.03)
    with (
        running(command, lambda: answers(url)),
        running(chromium, lambda: answers(f"http://127.0.0.1:{debugging}/json/version")),
    ):
        browser = Browser(debugging)
        browser("Page.navigate", url=url)
        browser.wait("document.querySelectorAll('textarea').length == 2")
        browser.wait("document.body.innerText.includes('box ')")
        assert browser.script("document.querySelector('textarea').value") == "\n".join(wanted)
        assert browser.script("document.querySelectorAll('svg rect').length") == 1
        shot = os.environ.get("KERAS_VLM_SCREENSHOT")
        if shot:
            import base64

            data = browser("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(shot).write_bytes(base64.b64decode(data))
        browser.stack.close()
