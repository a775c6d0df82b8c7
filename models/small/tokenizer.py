"""The built-in model's tokenizer: byte-level BPE, trained on every wording of every question.

Bytes are its smallest pieces, so it can spell any question; the words that the generator uses are one token each.
"""

from collections.abc import Mapping, Sequence
from itertools import product

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from codecmeta.models.small.world.questions import NUMBERS, TEMPLATES
from codecmeta.models.small.world.scenes import COLOURS, DIRECTIONS, SHAPES

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL = (PAD, START, END, "<image>", "<video>")

# LLaVA-OneVision's own template: pictures first, then the text, each turn closed by <|im_end|>.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + content['text'] }}{% endfor %}"
    "{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}"
    "{% endif %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer(
    wordings: Mapping[str, Sequence[str]] = TEMPLATES, answers: Sequence[str] = NUMBERS
) -> PreTrainedTokenizerFast:
    """Train the tokenizer (well under a second, always the same result).

    wordings: of every type of question. answers: words beside colours, shapes and directions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # never reached: merging stops when every word is one token
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(wordings, answers), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START, "<image>", "<video>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _corpus(wordings: Mapping[str, Sequence[str]], answers: Sequence[str]) -> list[str]:
    """Every wording with every word in it, and every answer with and without a leading space."""
    words = (*COLOURS, *SHAPES, *DIRECTIONS, *answers, "colour", "shape", "object", "objects", "before", "after")
    lines = [text.format(word, word) for texts, word in product(wordings.values(), words) for text in texts]
    return [*lines, *words, *(f" {word}" for word in words), "user \nassistant\n"]
