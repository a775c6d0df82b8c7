"""Rows of a cache whose file is closed."""

from pathlib import Path

import h5py
import numpy as np

from codecmeta.cache.packed import PackedRows, Recent, state_of
from codecmeta.cache.store import StoredRows
from codecmeta.record.metadata import VECTOR


def test_rows_of_a_closed_file_are_those_of_hdf5(tmp_path: Path) -> None:
    """Every layout that a cache can have, and one that it cannot, against h5py."""
    rng = np.random.default_rng(0)
    path = tmp_path / "rows.h5"
    packing = {"compression": "gzip", "shuffle": True}
    with h5py.File(path, "w") as file:
        file.create_dataset("plain", data=rng.random((9, 3, 2)).astype("f2"))
        file.create_dataset("maps", data=rng.random((9, 3, 2)).astype("f2"), chunks=(4, 3, 2), **packing)
        file.create_dataset("bytes", data=rng.integers(-9, 9, (9, 3, 2)).astype("i1"), chunks=(9, 3, 2), **packing)
        file.create_dataset("deflated", data=rng.integers(0, 9, 9), chunks=(4,), compression="gzip")
        file.create_dataset("other", data=rng.random((9, 3, 2)), chunks=(4, 1, 2), **packing)
        file.create_dataset("none", shape=(0, 3), dtype="f4", chunks=(4, 3), maxshape=(None, 3), **packing)
        vectors = np.frombuffer(rng.bytes(50 * VECTOR.itemsize), VECTOR)
        file.create_dataset("vectors", data=vectors, chunks=(16,), **packing)
    state = state_of(path.stat())
    with h5py.File(path, "r", locking=False) as file:
        for name, dataset in file.items():
            stored = StoredRows(dataset, 5 if name == "bytes" else 0, np.dtype("i2") if name == "bytes" else None)
            made = PackedRows(stored, path, state, Recent(100))
            keys = [slice(None), slice(2, 7), slice(3, 3), slice(None, None, 2), [1, 4]][: 5 if len(dataset) else 1]
            for key in keys + ([0, 5, -1, np.int64(8)] if len(dataset) else []):
                want = stored[key]
                assert made[key].dtype == want.dtype and made[key].tobytes() == np.asarray(want).tobytes(), (name, key)
            assert np.asarray(made).tobytes() == np.asarray(stored).tobytes()
