"""Vectors on disk, found again by cosine: what a picture or a sentence is like.

The contract of an index, here and in Qdrant alike: ``add(keys [n], vectors [n,D])`` replaces a key
that is there, ``remove(keys)``, ``search(queries [q,D], k) -> keys, scores [q,k]``, best first. It
keeps the fingerprint of what made the vectors, for those of two models cannot be compared.
"""

from keras_vlm.search.near_duplicates import near_duplicates as near_duplicates
from keras_vlm.search.qdrant import QdrantIndex as QdrantIndex
from keras_vlm.search.vector_index import VectorIndex as VectorIndex
