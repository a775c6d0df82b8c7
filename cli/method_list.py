"""One line on every method, for help texts; the methods themselves need torch, which a plain install does not bring."""

METHODS = {
    "none": "the plain model, measured like the others",
    "uniform": "control: every n-th frame, a coarser grid, or every n-th token",
    "random": "control: tokens drawn with a seed, before the model or at one of its layers",
    "replenish": "places that changed or were not seen for long, by the bitstream; the project's own",
    "metom": "merges where the codec found nothing new, before, after and inside (MeToM)",
    "metok": "events decide how finely frames are seen, attention what stays (METok)",
    "evs": "tokens that differ most from the frame before (EVS)",
    "fastv": "tokens that the last one looks at, early inside (FastV)",
    "tome": "bipartite merging of the most similar tokens, early inside (ToMe)",
    "dycoke": "every fourth frame whole, of the others what differs (DyCoke)",
    "sttm": "quadtrees in space, then links over time, early inside (STTM)",
    "holitom": "windows that stand still, vision attention, merging inside (HoliTom)",
    "vidcom2": "tokens unlike the clip and unlike their frame (VidCom2)",
    "divprune": "tokens as different from each other as can be (DivPrune)",
    "fastvid": "segments, salient tokens, anchors that take in the rest (FastVID)",
    "flashvid": "diverse attended tokens, trees over time for the others (FlashVID)",
    "visionzip": "what the vision encoder looks at, and a few for all else (VisionZip)",
    "scissor": "one token for what hangs together by similarity (LLaVA-Scissor)",
    "rlt": "places whose pixels changed (Run-Length Tokenization)",
    "codecsight": "what the codec touched, until the next I picture (CodecSight)",
}


def methods_epilog() -> str:
    """The list as click prints it, one line per method."""
    return "\b\nMethods:\n" + "\n".join(f"  {name:<11}{line}" for name, line in METHODS.items())
