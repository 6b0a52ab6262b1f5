"""Keys are found, whatever was replaced, removed or collides."""

import numpy as np
import pytest

from keras_vlm.search import key_table, store
from keras_vlm.search.key_table import KeyTable
from keras_vlm.search.store import Manifest, Store


@pytest.fixture(params=["hashes", "collisions"])
def filled(request, tmp_path, monkeypatch):
    if request.param == "collisions":

        def few(keys):
            return np.array([len(key) % 2 for key in keys], np.uint64)

        monkeypatch.setattr(store, "hash_keys", few)
        monkeypatch.setattr(key_table, "hash_keys", few)
    filled = Store.create(tmp_path / "index", Manifest("flat", 2, "", {}, 16, 128))
    filled.lock("test")
    filled.append(["a", "bb", "é", "", "\udcff"], np.ones((5, 2)), [])
    filled.append(["bb"], np.ones((1, 2)), [1])
    filled.append([], np.ones((0, 2)), [0])
    yield filled
    filled.unlock()


WANTED = {"a": -1, "bb": 5, "é": 2, "": 3, "\udcff": 4, "c": -1}


def test_finds_rows(filled):
    assert KeyTable(filled).find(list(WANTED)).tolist() == list(WANTED.values())
    assert KeyTable(filled).find([]).tolist() == []


@pytest.mark.parametrize("recent", [0, 100])
def test_takes_in_new_rows(filled, recent, monkeypatch):
    monkeypatch.setattr(key_table, "RECENT_KEYS", recent)
    table = KeyTable(filled)
    table.find([])
    filled.append(["a", "ccc"], np.ones((2, 2)), [])
    table.add(["a", "ccc"])
    filled.append(["é"], np.ones((1, 2)), [2])
    table.add(["é"])
    filled.append([], np.ones((0, 2)), [7])
    wanted = {**WANTED, "a": 6, "ccc": -1, "é": 8}
    assert table.find(list(wanted)).tolist() == list(wanted.values())
    assert len(table._recent) == (3 if recent else 0)


def test_notices_what_it_was_not_told(filled):
    table = KeyTable(filled)
    assert table.find(["a"]).tolist() == [-1]
    filled.append(["a"], np.ones((1, 2)), [])
    filled.append(["c"], np.ones((1, 2)), [])
    table.add(["c"])
    assert table.find(["a", "c"]).tolist() == [6, 7]
    filled.compact()
    assert table.find(["é", "a", "c"]).tolist() == [0, 4, 5]
