"""The same index in Qdrant, a vector database of many machines (https://qdrant.tech).

For 10^9 vectors, which no ``VectorIndex`` on one machine holds in memory, make the collection with
Qdrant's own options, passed through ``create``::

    from qdrant_client import models
    QdrantIndex.create(
        256, location="http://qdrant:6333", collection="photos",
        shard_number=24,            # two or more a machine; a query asks all, at once
        replication_factor=2,       # a machine may be lost, and reads spread over both copies
        on_disk_payload=True,       # keys stay on disk
        quantization_config=models.ScalarQuantization(   # int8 in memory ...
            scalar=models.ScalarQuantizationConfig(type="int8", quantile=0.99, always_ram=True)),
        vectors_config=models.VectorParams(
            size=256, distance="Cosine", on_disk=True),  # ... and float32 on disk, for exact scores
    )

``benchmarks/search.py`` prints how much memory that takes. Refuses to know models and pictures.
Dimension letters: n vectors, D their width, q queries, k results a query.
"""

import uuid

import numpy as np

from keras_vlm.core.checks import check_number
from keras_vlm.core.extras import import_extra
from keras_vlm.search.arguments import check_keys, check_new_keys, unit_vectors

# A point's number in Qdrant is the UUID of its key under this name.
NAMESPACE = uuid.UUID("7f6e2d4a-5c1b-5e0f-9a3d-2b8c4e6f1a90")
BATCH = 256


class QdrantIndex:
    """Keys and unit-norm vectors in a Qdrant collection, searched by cosine.

    Example:
        >>> with QdrantIndex.create(2, location=":memory:", collection="directions") as index:
        ...     index.add(["east", "north"], [[2, 0], [0, 1]])
        ...     index.search([[1, 0.1]], k=1)[0]
        [['east']]
    """

    def __init__(self, client, collection, dim):
        self._client = client
        self._collection = collection
        self.dim = dim

    @classmethod
    def create(cls, dim, *, location, collection, fingerprint="", **options):
        """Makes an empty collection.

        Args:
            dim: width of the vectors.
            location: address of a server, ``http://...``; or, for tests, ``:memory:`` or a folder.
            collection: its name.
            fingerprint: what makes the vectors, for example a digest of the model; ``open``
                compares it.
            **options: of ``QdrantClient.create_collection``: shards, replicas, quantisation.

        Returns:
            A ``QdrantIndex``.

        Raises:
            FileExistsError: there is a collection of that name.
            ImportError: the Qdrant client is not installed.
        """
        check_number("QdrantIndex.create", "dim", dim, minimum=1, integer=True)
        client = _connect(location)
        if client.collection_exists(collection):
            client.close()
            raise FileExistsError(
                f"QdrantIndex.create: collection must be a new name, got {collection!r}, which is "
                f"at {location}. Open it with QdrantIndex.open."
            )
        models = _qdrant().models
        options.setdefault("vectors_config", models.VectorParams(size=dim, distance="Cosine"))
        client.create_collection(collection, metadata={"fingerprint": fingerprint}, **options)
        return cls(client, collection, dim)

    @classmethod
    def open(cls, *, location, collection, fingerprint=None):
        """Connects to a collection.

        Args:
            location: as in ``create``.
            collection: its name.
            fingerprint: what makes the queries' vectors, or None not to compare.

        Returns:
            A ``QdrantIndex``.

        Raises:
            FileNotFoundError: there is no such collection.
            ImportError: the Qdrant client is not installed.
            ValueError: it has another fingerprint.
        """
        client = _connect(location)
        if not client.collection_exists(collection):
            client.close()
            raise FileNotFoundError(
                f"QdrantIndex.open: collection must be one at {location}, got {collection!r}. Make "
                "it with QdrantIndex.create."
            )
        config = client.get_collection(collection).config
        stored = (config.metadata or {}).get("fingerprint", "")
        if fingerprint is not None and fingerprint != stored:
            client.close()
            raise ValueError(
                f"QdrantIndex.open: fingerprint must be {stored!r}, that of the collection "
                f"{collection!r}, got {fingerprint!r}. Use the model that made it, or make it anew "
                "with this one."
            )
        return cls(client, collection, config.params.vectors.size)

    def add(self, keys, vectors):
        """Adds vectors; a key that is there already is replaced.

        Args:
            keys: n different strings.
            vectors: float array [n,D]; brought to unit norm.

        Raises:
            TypeError: the keys are not strings.
            ValueError: wrong shape, a key twice, a vector that is zero or not finite.
        """
        where = "QdrantIndex.add"
        keys = check_new_keys(where, keys)
        vectors = unit_vectors(where, "vectors", vectors, (len(keys), self.dim))
        models = _qdrant().models
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            points = models.Batch(
                ids=[_identity(key) for key in part],
                payloads=[{"key": key} for key in part],
                vectors=vectors[start : start + BATCH].tolist(),
            )
            self._client.upsert(self._collection, points, wait=True)

    def remove(self, keys):
        """Removes vectors.

        Args:
            keys: strings that are in the collection.

        Raises:
            KeyError: a key is not there; nothing is removed.
            TypeError: the keys are not strings.
        """
        keys = check_keys("QdrantIndex.remove", keys)
        self._retrieve("QdrantIndex.remove", keys, with_vectors=False)
        if keys:
            self._client.delete(self._collection, [_identity(key) for key in keys], wait=True)

    def search(self, queries, k=10, *, expansion=None):
        """Finds the nearest vectors by cosine.

        Args:
            queries: float array [q,D]; brought to unit norm.
            k: results a query.
            expansion: nodes of the graph that are kept in view, or None for the collection's own
                number; more find more, and take longer.

        Returns:
            keys, q lists of k strings, and scores, float32 [q,k], best first; fewer than k if the
            collection has fewer.

        Raises:
            ValueError: wrong shape, or a query that is zero or not finite.
        """
        where = "QdrantIndex.search"
        queries = unit_vectors(where, "queries", queries, (None, self.dim))
        check_number(where, "k", k, minimum=1, integer=True)
        models, found = _qdrant().models, []
        options = {"limit": k, "with_payload": True}
        if expansion is not None:
            options["params"] = models.SearchParams(hnsw_ef=expansion)
        for start in range(0, len(queries), BATCH):
            requests = [
                models.QueryRequest(query=query, **options)
                for query in queries[start : start + BATCH].tolist()
            ]
            found += self._client.query_batch_points(self._collection, requests)
        keys = [[point.payload["key"] for point in answer.points] for answer in found]
        scores = [[point.score for point in answer.points] for answer in found]
        width = len(scores[0]) if scores else min(k, len(self))
        return keys, np.array(scores, np.float32).reshape(len(queries), width)

    def vectors(self, keys):
        """Returns the vectors of n keys, float32 [n,D], unit norm.

        Args:
            keys: strings that are in the collection.

        Raises:
            KeyError: a key is not there.
            TypeError: the keys are not strings.
        """
        keys = check_keys("QdrantIndex.vectors", keys)
        found = self._retrieve("QdrantIndex.vectors", keys, with_vectors=True)
        return np.array([found[key] for key in keys], np.float32).reshape(len(keys), self.dim)

    def close(self):
        """Ends the connection."""
        self._client.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __len__(self):
        return self._client.count(self._collection, exact=True).count

    def __iter__(self):
        offset = None
        while True:
            points, offset = self._client.scroll(self._collection, offset=offset, limit=BATCH)
            yield from (point.payload["key"] for point in points)
            if offset is None:
                return

    def _retrieve(self, where, keys, *, with_vectors):
        """Returns the vectors by key, or None for each.

        Raises:
            KeyError: a key is not there.
        """
        identities = [_identity(key) for key in keys]
        points = self._client.retrieve(self._collection, identities, with_vectors=with_vectors)
        found = {point.payload["key"]: point.vector for point in points}
        missing = set(keys) - set(found)
        if missing:
            raise KeyError(
                f"{where}: keys must be in the collection, got {min(missing)!r} ({len(missing)} of "
                f"{len(keys)} are not)."
            )
        return found


def _qdrant():
    return import_extra("qdrant_client", "qdrant", "QdrantIndex")


def _connect(location):
    client = _qdrant().QdrantClient
    if location == ":memory:" or "://" in location:
        return client(location)
    return client(path=location)


def _identity(key):
    return str(uuid.uuid5(NAMESPACE, key))
