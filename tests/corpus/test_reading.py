"""A corpus as training loops read it: by its index, from many processes, at first sight checked and then trusted."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

import codecmeta
from codecmeta import Corpus
from codecmeta.errors import CacheError
from tests.support.clips import pan, write_clip
from tests.support.corpora import extract_command as call
from tests.support.corpora import read_all


def test_a_corpus_is_its_index_and_opens_what_is_asked_for(folder: Path, tmp_path: Path) -> None:
    write_clip(folder / "m.avi", pan(9, (32, 32), (1, 0)), "mpeg4")
    (folder / "bad.mp4").write_bytes(b"no video")
    for part in (0, 1):
        call(folder, "-o", tmp_path / "out", "--frames", 2, "--layout", "hash", "--shard", f"{part}/2")
    corpus = codecmeta.Corpus(tmp_path / "out")
    assert list(corpus) == ["a.mp4", "b.mp4", "deep/er/c.mp4", "m.avi"] and len(corpus) == 4
    assert "m.avi" in corpus and "bad.mp4" not in corpus and [one.key for one in corpus.failed] == ["bad.mp4"]
    assert read_all(corpus) == {key: (9 if key == "m.avi" else 6, Path(key).name) for key in corpus}
    assert list(corpus.where(codec="h264")) == ["a.mp4", "b.mp4", "deep/er/c.mp4"]
    assert list(corpus.where(lambda row: row.frames > 6)) == list(corpus.where(codec="mpeg4")) == ["m.avi"]
    with pytest.raises(KeyError):
        corpus["bad.mp4"]
    with pytest.raises(TypeError, match="rows have path, key"):
        corpus.where(colour="red")
    with pytest.raises(CacheError, match="no index.jsonl"):
        codecmeta.Corpus(folder)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_corpus_is_read_by_many_processes(start: str, folder: Path, tmp_path: Path) -> None:
    call(folder, "-o", tmp_path / "out", "--frames", 2)
    corpus = codecmeta.Corpus(tmp_path / "out")
    here = read_all(corpus)
    with corpus["a.mp4"], multiprocessing.get_context(start).Pool(3) as pool:  # one of them is open meanwhile
        assert pool.map(read_all, [corpus] * 6) == [here] * 6


def test_a_corpus_moves_with_its_folder_and_needs_no_videos(folder: Path, tmp_path: Path) -> None:
    call(folder, "-o", tmp_path / "out", "--frames", 2)
    before = read_all(codecmeta.Corpus(tmp_path / "out"))
    (tmp_path / "out").rename(tmp_path / "moved")
    folder.rename(tmp_path / "gone")
    assert read_all(codecmeta.Corpus(tmp_path / "moved")) == before and len(before) == 3


def test_a_trusted_corpus_checks_once_and_reads_what_a_plain_one_reads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codecmeta.cache import store
    from codecmeta.corpus import recent

    call(folder, "-o", tmp_path / "out", "--frames", 2)
    plain = read_all(Corpus(tmp_path / "out"))
    checked: list[Path] = []
    reopened: list[Path] = []
    real = store.check_cache
    monkeypatch.setattr(store, "check_cache", lambda file, path: checked.append(path) or real(file, path))
    monkeypatch.setattr(recent, "reopen", lambda path: reopened.append(path) or store.reopen(path))
    corpus = Corpus(tmp_path / "out", trusted=True)
    with corpus["a.mp4"] as first:
        pass
    assert corpus["a.mp4"] is first and first.residual.values[0].shape == (4, 4)
    for _ in range(2):
        assert read_all(corpus.where(codec="h264")) == plain
    assert len(checked) == len(set(checked)) == 3 and not reopened
    small = Corpus(tmp_path / "out", trusted=True, memory=1)  # room for one thing only
    for _ in range(2):
        assert read_all(small) == plain
    assert len(checked) == 6 and len(reopened) >= 2
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(read_all, (corpus,)) == plain  # a pickle has a memory of its own
    codecmeta.extract_to_file(folder / "a.mp4", corpus.path("a.mp4"), frames=1, overwrite=True)
    before = len(checked)
    assert corpus["a.mp4"].residual.values.shape[0] == 1 and len(checked) == before + 1  # it is another file
    with pytest.raises(CacheError, match="written anew since it was opened"):
        small["b.mp4"], first.qp.values[0]
    with pytest.raises(ValueError, match="memory=0"):
        Corpus(tmp_path / "out", trusted=True, memory=0)
