"""Statistics and problems of a data set, for `tool data inspect vqa`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.images import BROKEN, deep_note, orientation
from tasks.readers.choice import inspected
from tasks.readers.holdout import subset
from tasks.readers.problems import Problems
from tasks.vqa.checks import check_images, check_rows, labelled
from tasks.vqa.evaluation import NAMES, choose_score, ranked
from tasks.vqa.holdout import without_shared
from tasks.vqa.questions import Questions
from tasks.vqa.readers import Options, recognise
from tasks.vqa.score import normalize
from tasks.vqa.truncation import truncation

# Images whose mode and size are looked at, and answers and question types that are listed.
IMAGE_SAMPLE = 1000
LISTED = 20


@dataclass(frozen=True)
class Reading:
    """How a model reads questions: its tokenizer, how many word pieces at most, and how to name it."""

    tokenizer: Any
    limit: int
    name: str


def inspect(options: Options, reading: Callable[[list[str]], Reading] | None = None) -> dict[str, Any]:
    """Reads every split (or those named) and describes it; what is wrong is listed, not raised.

    Args:
        options: with `skip_bad` all pictures are decoded, else a part of them and the headers of all.
        reading: gives, for the questions of the first split, how a model will read them; None: not looked at.

    Returns:
        format, name, splits {name: questions, images, ...}, leaks (lines on pictures that the first split shares with others),
        problems (up to ten, with file and row) and problem_count.

    Raises:
        DataError: the data can't be read at all.
    """
    source = recognise(options)
    problems = Problems()
    sound: dict[str, Questions] = {}
    whole: dict[str, Questions] = {}
    for name in sorted(inspected(source, options), key=lambda name: name != (options.train_split or "train")):
        questions = source.splits[name](problems)
        whole[name] = subset(check_rows(questions, problems, labelled(questions)), options.max_samples, options.seed)
        sound[name] = check_images(whole[name], problems, decode=options.skip_bad or None)
    read = reading(next(iter(whole.values())).question) if reading is not None else None
    return {
        "format": source.format,
        "name": source.name,
        "splits": {name: describe(questions, options.seed, read) for name, questions in whole.items()},
        "leaks": leaks(sound),
        "problems": problems.messages,
        "problem_count": problems.total,
    }


def leaks(parts: dict[str, Questions]) -> list[str]:
    """What other splits share with the first, a line each."""
    (first, train), *others = parts.items()
    lines = []
    for name, questions in others:
        line = without_shared(train, questions, drop=False, name=name)[2]
        lines += [f"{first} and {name}: {each}" for each in line]
    return lines


def describe(questions: Questions, seed: int = 0, reading: Reading | None = None) -> dict[str, Any]:
    """Counts of one split; shares in percent, lengths in words."""
    answers = Counter(normalize(answer) for given in questions.answers for answer in given)
    given = Counter(len(given) for given in questions.answers)
    words = [len(question.split()) for question in questions.question]
    return {
        "questions": len(questions),
        "images": len(np.unique(questions.image)),
        "unlabelled": given.pop(0, 0),
        "answers_per_question": {str(count): times for count, times in sorted(given.items())},
        "distinct_answers": len(answers),
        "most_frequent_answers": dict(ranked(answers)[:LISTED]),
        "question_types": dict(ranked(Counter(questions.question_type))[:LISTED]),
        "answer_types": dict(ranked(Counter(questions.answer_type))[:LISTED]),
        "soft_labels_given": questions.weights is not None,
        "question_words": {f"p{share}": int(np.percentile(words, share)) for share in (0, 50, 95, 100) if words},
        **_measure(questions),
        **({} if reading is None else {"cut": _cut(questions, reading)}),
        "notes": [*questions.notes, *filter(None, [deep_note((questions.images, questions.image))])],
        **_pictures(questions, seed),
    }


def _measure(questions: Questions) -> dict[str, Any]:
    """By what an evaluation on these questions is measured, and why."""
    if not labelled(questions):
        return {}
    choice = choose_score(questions)
    return {"score": f"{NAMES[choice.kind]}: {choice.why}", **({"mixed": choice.mixed} if choice.mixed else {})}


def _cut(questions: Questions, reading: Reading) -> dict[str, Any]:
    """What the model's limit on a question's length does to these."""
    found = truncation(questions, reading.tokenizer, reading.limit)
    facts = {"questions": found.cut, "become_equal": found.equal, "limit": found.limit, "tokenizer": reading.name}
    return facts | ({"first": found.first} if found.cut else {})


def _pictures(questions: Questions, seed: int) -> dict[str, Any]:
    """Modes and sizes of a random sample of the images, from their headers."""
    used = np.unique(questions.image)
    chosen = np.random.default_rng(seed).permutation(used)[:IMAGE_SAMPLE]
    modes: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    turned = 0
    for i in chosen:
        try:
            with questions.images.open(int(i)) as image:
                modes[image.mode] += 1
                turned += orientation(image) != 1
            width, height = questions.images.size(int(i))
            sizes[f"{width}x{height}"] += 1
        except (*BROKEN, DataError):
            continue
    return {
        "images_looked_at": len(chosen),
        "image_modes": dict(modes.most_common()),
        "image_sizes": dict(ranked(sizes)[:10]),
        "turned_by_exif": turned,
    }
