"""Does choosing by the container's index see what choosing by every packet's headers sees? Tuning split of `rare`.

    python -m benchmarks.index_rare clips/ --clips 28 --json benchmarks/results/index_rare.json

The share of clips in which a frame chosen by "events" shows the rare object, with 8, 16 and 32 frames: with headers, by
the index wherever there is one, and by default (the index, but for codecs that hide frames in packets). No model, no
picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import codecmeta
from benchmarks.rare_clips import TUNING, make_clip

FRAMES = (8, 16, 32)
WAYS: dict[str, bool | None] = {"headers": True, "index": False, "default": None}


def measure(number: int, folder: Path) -> dict[str, Any]:
    """One clip: its codec, and by way and number of frames whether the object is seen."""
    clip = make_clip(TUNING, number)
    path = clip.write(folder)
    known = codecmeta.probe(path)
    seen = clip.seen(known.frames.time)
    found: dict[str, Any] = {"number": number, "codec": known.stream.codec}
    for way, headers in WAYS.items():
        rows = [codecmeta.choose_frames(path, count, headers=headers).rows for count in FRAMES]
        found[way] = [bool(seen[one].any()) for one in rows]
    return found


def main() -> None:
    """Print a line per clip, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=28)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number in range(options.clips):
        clips.append(measure(number, options.folder))
        print(clips[-1], flush=True)
    groups = {
        "H.264 and HEVC": [one for one in clips if one["codec"] in ("h264", "hevc")],
        "VP9 and AV1": [one for one in clips if one["codec"] in ("vp9", "av1")],
    }
    summary = {
        name: {
            "clips": len(group),
            "frames": list(FRAMES),
            **{way: [sum(one[way][at] for one in group) for at in range(len(FRAMES))] for way in WAYS},
            "alike": sum(one["headers"] == one["index"] for one in group),
        }
        for name, group in groups.items()
    }
    print(json.dumps(summary))
    if options.json:
        command = f"python -m benchmarks.index_rare clips/ --clips {options.clips}"
        options.json.write_text(json.dumps({"command": command, "groups": summary, "clips": clips}, indent=1) + "\n")


if __name__ == "__main__":
    main()
