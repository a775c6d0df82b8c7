"""What the unmodified parts of a tiny model give: the references that strategies inside generate() are held against."""

import numpy as np
import torch


@torch.no_grad()
def entering(model, inputs):
    """The keyword arguments of the unmodified language model in one pass over the prompt."""
    seen = {}

    def look(module, args, kwargs):
        seen.update(kwargs)

    handle = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
    model(**inputs)
    handle.remove()
    return seen


@torch.no_grad()
def masked_logits(model, embeddings, keep, new_ids, positions):
    """Logits of the prompt's end and of every new token but the last, by one uncached pass over the full length.

    embeddings: (1, length, width), of the prompt. keep: bool (length,), what may be looked at; everything else is
    masked as a key. positions: position ids of the prompt and of these new tokens.
    """
    new = model.get_input_embeddings()(new_ids[None, :-1])
    whole = torch.cat((embeddings, new), 1)
    total = whole.shape[1]
    allowed = torch.ones(total, total, dtype=torch.bool).tril()
    allowed[:, : len(keep)] &= keep
    allowed |= torch.eye(total, dtype=torch.bool)  # a removed token may see itself; nobody sees it
    mask = torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
    out = model.model.language_model(
        inputs_embeds=whole, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    return model.lm_head(out[0, embeddings.shape[1] - 1 :])


def projected_alone(model, pixels, regions):
    """Every frame of LLaVA-OneVision alone on its own tokens: the projected tokens, and the patch in the middle of each
    region."""
    tower = model.model.vision_tower
    with torch.no_grad():
        for frame, picture in zip(regions, pixels, strict=True):
            embedded = tower.embeddings(picture[None])[0]
            tokens, centres = [], []
            for k in range(frame.max() + 1):
                members = np.flatnonzero(frame.ravel() == k)
                tokens.append(embedded[members].mean(0))
                places = np.stack(np.unravel_index(members, frame.shape), 1)
                centres.append(int(members[((places - places.mean(0)) ** 2).sum(1).round(9).argmin()]))
            hidden = torch.stack(tokens)[None]
            for layer in tower.encoder.layers:
                hidden = layer(hidden, None)
            yield model.model.multi_modal_projector(hidden)[0], centres
