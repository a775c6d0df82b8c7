"""A file that is a list of other files, or of addresses, is refused; a name is a path, whatever it looks like."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest

import codecmeta
from codecmeta.errors import VideoError
from tests.support.clips import pan, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    write_clip(root / "other.mp4", pan(12, (64, 48), (2, 0)))
    write_clip(root / "other.ts", pan(12, (64, 48), (2, 0)), format="mpegts")
    return root


HOSTILE = {
    "concat": "ffconcat version 1.0\nfile other.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1" width="64" height="48">'
    "<BaseURL>other.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "imf": '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:0</Id></CompositionPlaylist>",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nsize: 64x48\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "rtsp redirect": "RTSPtextRTSP://127.0.0.1:1/x\n",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd", ".sdp"])
def test_lists_of_other_files_are_refused(name: str, suffix: str, folder: Path) -> None:
    path = folder / f"{name.replace(' ', '_')}{suffix}"
    path.write_text(HOSTILE[name])
    for call in (codecmeta.probe, codecmeta.extract, codecmeta.read):
        with pytest.raises(VideoError, match="cannot read this file"):
            call(path)


def test_ffmpeg_alone_would_follow_the_list(folder: Path) -> None:
    """What the refusal is about: without it the frames of the other file come out."""
    path = folder / "list.mp4"
    path.write_text(HOSTILE["concat"])
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    with pytest.raises(VideoError):
        codecmeta.probe(path)


def test_a_pattern_of_names_is_a_name(folder: Path) -> None:
    with av.open(str(folder / "shot-001.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        frame = av.VideoFrame.from_ndarray(pan(1, (64, 48), (0, 0))[0], format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (folder / "shot-%03d.png").write_bytes(b"not a picture")
    with pytest.raises(VideoError):
        codecmeta.probe(folder / "shot-%03d.png")


@pytest.mark.parametrize(
    "name",
    ["2024-05-01T12:30:45.mp4", "http:x.mp4", "concat:other.mp4|other.mp4", "subfile,,start,0,end,9,,:other.mp4"],
)
def test_a_name_is_a_path_whatever_it_looks_like(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    os.link("other.mp4", name) if not Path(name).exists() else None
    assert len(codecmeta.probe(name).frames) == 12
    assert len(codecmeta.extract(Path(name)).frames) == 12
