"""Scenes into questions with one-word answers.

    for question in all_questions(make_scene(7), np.random.default_rng(0)):
        print(question.type, question.text, question.answer)

Every question has exactly one right answer: objects are named by a colour or shape that no other object of the clip
has, and pairs are asked in random order, so the wording says nothing about the answer.
"""

from dataclasses import dataclass

import numpy as np

from codecmeta.models.small.world.scenes import NAMELESS, MovingObject, Scene

TYPES: tuple[str, ...] = ("colour", "shape", "direction", "count", "first", "after_cut")
NUMBERS: tuple[str, ...] = ("one", "two", "three")

# The last wording of every list is never trained on; evaluation asks it apart ("unseen wording").
TEMPLATES: dict[str, tuple[str, ...]] = {
    "colour": (
        "What colour is the {}?",
        "What color is the {}?",
        "Which colour is the {}?",
        "What is the colour of the {}?",
        "Which colour does the {} have?",
        "Tell me the colour of the {}.",
        "The {} is of which colour?",
    ),
    "shape": (
        "What shape is the {}?",
        "Which shape is the {}?",
        "What is the shape of the {}?",
        "Which shape does the {} have?",
        "Tell me the shape of the {}.",
        "The {} is of which shape?",
    ),
    "direction": (
        "In which direction does the {} move?",
        "Which way does the {} go?",
        "Where is the {} moving?",
        "Which way is the {} moving?",
        "What is the direction of the {}?",
        "Tell me the direction of the {}.",
        "Where does the {} go?",
    ),
    "count": (
        "How many objects are there?",
        "How many shapes are there?",
        "What is the number of objects?",
        "How many objects does the video show?",
        "Count the objects.",
        "Tell me the number of objects.",
        "How many shapes does the video show?",
    ),
    "first": (
        "Which came first, the {} or the {}?",
        "Which appeared first, the {} or the {}?",
        "What came first, the {} or the {}?",
        "Which is seen first, the {} or the {}?",
        "Which of the two was there first, the {} or the {}?",
        "What was there first, the {} or the {}?",
    ),
    "after_cut": (
        "What {} is shown after the cut?",
        "Which {} is shown after the cut?",
        "What is the {} of the object after the cut?",
        "After the cut, which {} is shown?",
        "Which {} appears after the cut?",
        "Tell me the {} of the object after the cut.",
        "What {} appears after the cut?",
    ),
}


@dataclass(frozen=True)
class Question:
    """A question about a clip. `names` are the (word, object number) pairs by which the text names objects."""

    text: str
    answer: str
    type: str
    names: tuple[tuple[str, int], ...] = ()


def all_questions(scene: Scene, rng: np.random.Generator, *, unseen_wording: bool = False) -> list[Question]:
    """Every question that the scene answers, each in one wording drawn from `rng`.

    Args:
        scene: what is true about the clip.
        rng: draws the wordings and how objects are named.
        unseen_wording: use the one wording of every type that training never uses.
    """
    questions = [*_about_objects(scene, rng, unseen_wording), *_about_order(scene, rng, unseen_wording)]
    if scene.cut is None:
        text = _template("count", rng, unseen_wording)
        questions.append(Question(text, NUMBERS[len(scene.objects) - 1], "count"))
    else:
        questions += _about_the_cut(scene, rng, unseen_wording)
    return questions


def draw_questions(scene: Scene, rng: np.random.Generator, count: int) -> list[Question]:
    """`count` questions for training, at most one count question, repeats only where the scene has too few."""
    candidates = all_questions(scene, rng)
    special = [question for question in candidates if question.type in ("first", "after_cut")]
    common = [question for question in candidates if question.type not in ("first", "after_cut")]
    chosen = [special[index] for index in rng.permutation(len(special))[: (count + 1) // 2]]
    while len(chosen) < count:
        common = common or special  # a nameless object may leave nothing common to ask
        rest = count - len(chosen)
        chosen += [common[index] for index in rng.permutation(len(common))[:rest]]
    return chosen


def _about_objects(scene: Scene, rng: np.random.Generator, unseen: bool) -> list[Question]:
    """Colour, shape and direction of every object."""
    questions = []
    for number, item in enumerate(scene.objects):
        by_shape, by_colour = _name(item, "shape"), _name(item, "colour")
        by_any = _name(item, str(rng.choice(("shape", "colour", "both"))))
        if len(scene.objects) == 1 and rng.random() < 0.5:
            by_shape = by_colour = by_any = ("object", "object")
        drafts = [
            ("colour", by_shape, item.colour),
            ("shape", by_colour, item.shape),
            ("direction", by_any, item.direction),
        ]
        for kind, (name, word), answer in drafts:
            if NAMELESS not in (answer, *name.split()):
                text = _template(kind, rng, unseen).format(name)
                questions.append(Question(text, answer, kind, ((word, number),)))
    return questions


def _about_order(scene: Scene, rng: np.random.Generator, unseen: bool) -> list[Question]:
    """Which of two came first, for every pair that did not appear together."""
    questions = []
    for first in range(len(scene.objects)):
        for second in range(first + 1, len(scene.objects)):
            pair = (first, second)
            if scene.objects[first].appears == scene.objects[second].appears:
                continue
            how = str(rng.choice(("shape", "colour")))
            if NAMELESS in (scene.objects[first].colour, scene.objects[second].colour):
                how = "shape"
            order = pair if rng.random() < 0.5 else pair[::-1]
            names = [_name(scene.objects[number], how) for number in order]
            text = _template("first", rng, unseen).format(names[0][0], names[1][0])
            winner = min(pair, key=lambda number: scene.objects[number].appears)
            grounded = tuple((word, number) for (_, word), number in zip(names, order, strict=True))
            questions.append(Question(text, getattr(scene.objects[winner], how), "first", grounded))
    return questions


def _about_the_cut(scene: Scene, rng: np.random.Generator, unseen: bool) -> list[Question]:
    """Colour and shape of the one object that is there after the cut."""
    number = next(index for index, item in enumerate(scene.objects) if item.appears > 0)
    item = scene.objects[number]
    return [
        Question(_template("after_cut", rng, unseen).format(what), getattr(item, what), "after_cut", (("cut", number),))
        for what in ("colour", "shape")
        if getattr(item, what) != NAMELESS
    ]


def _template(kind: str, rng: np.random.Generator, unseen: bool) -> str:
    """One wording of a question type."""
    wordings = TEMPLATES[kind]
    return wordings[-1] if unseen else wordings[int(rng.integers(len(wordings) - 1))]


def _name(item: MovingObject, how: str) -> tuple[str, str]:
    """(the words that name the object, the one of them that tells it from the others)."""
    if how == "shape":
        return item.shape, item.shape
    if how == "colour":
        return f"{item.colour} object", item.colour
    return f"{item.colour} {item.shape}", item.shape
