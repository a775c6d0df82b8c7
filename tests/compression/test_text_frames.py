"""Text-frame scores against the steps written out, on a tiny SigLIP."""

import torch
from transformers import SiglipConfig, SiglipModel

from codecmeta.compression.text_frames import text_frame_scores

LIMIT = 8


class Words:
    """A tokenizer of one id per letter."""

    pad_token_id = 1

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [2 + ord(letter) % 30 for letter in text]}


def test_scores_are_cosines_and_long_questions_are_chunked():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**sizes, "vocab_size": 32, "max_position_embeddings": LIMIT, "projection_size": 16},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
    )
    model = SiglipModel(config).eval()
    pixels = torch.randn(3, 3, 16, 16)
    for combine in ("max", "mean"):
        scores = text_frame_scores(model, Words(), pixels, "what is it", combine=combine)
        with torch.no_grad():
            ids = [2 + ord(letter) % 30 for letter in "what is it"]
            chunks = [torch.tensor([ids[:8]]), torch.tensor([ids[8:] + [1] * 6])]
            texts = torch.cat([model.text_model(input_ids=chunk).pooler_output for chunk in chunks])
            text = texts.amax(0) if combine == "max" else texts.mean(0)
            pictures = model.vision_model(pixel_values=pixels).pooler_output
        want = torch.cosine_similarity(pictures, text[None])
        torch.testing.assert_close(torch.tensor(scores), want)
