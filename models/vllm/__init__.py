"""vLLM's plug-in: videos read through codecmeta, and, as an experiment, the tokens that its pruning keeps.

vLLM calls `register` in every one of its processes, whatever is served, and its worker on CPUs does not start once
numba was imported (`vllm/triton_utils/dispatcher.py` looks at every attribute of every module): so nothing is imported
here but the registry that the loader goes into.
"""

from __future__ import annotations

import os

RETENTION = "CODECMETA_VLLM_RETENTION"
"""Environment variable that replaces which tokens vLLM's video pruning keeps: the name of a method, or not set."""


def register() -> None:
    """The entry point `codecmeta` of the group `vllm.general_plugins`: the video loader `codecmeta`.

    With `CODECMETA_VLLM_RETENTION` in the environment also the model whose pruning the codec decides. Raises
    RuntimeError where that is asked of a vLLM it was not written for, ValueError where it names no method for it;
    nothing otherwise.
    """
    try:
        from vllm.multimodal.video import VIDEO_LOADER_REGISTRY
    except ImportError:  # no vLLM, or one that keeps its loaders elsewhere
        return
    from codecmeta.models.vllm.loader import Loader

    VIDEO_LOADER_REGISTRY.register("codecmeta")(Loader)
    if os.environ.get(RETENTION):
        from codecmeta.models.vllm.retention import register_model

        register_model(os.environ[RETENTION])
