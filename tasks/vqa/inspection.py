"""Statistics and problems of a data set, for `tool data inspect vqa`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.images import BROKEN, orientation
from tasks.readers.choice import inspected
from tasks.readers.holdout import subset
from tasks.readers.problems import Problems
from tasks.vqa.checks import check_images, check_rows, labelled
from tasks.vqa.evaluation import ranked
from tasks.vqa.questions import Questions
from tasks.vqa.readers import Options, recognise
from tasks.vqa.score import normalize

# Images whose mode and size are looked at, and answers and question types that are listed.
IMAGE_SAMPLE = 1000
LISTED = 20


def inspect(options: Options) -> dict[str, Any]:
    """Reads every split (or those named) and describes it; what is wrong is listed, not raised.

    Returns:
        format, name, splits {name: questions, images, ...}, problems (up to ten, with file and row) and problem_count.

    Raises:
        DataError: the data can't be read at all.
    """
    source = recognise(options)
    problems = Problems()
    splits = {}
    for name in inspected(source, options):
        questions = source.splits[name](problems)
        sound = subset(check_rows(questions, problems, labelled(questions)), options.max_samples, options.seed)
        check_images(sound, problems, decode=False)
        splits[name] = describe(sound, options.seed)
    return {
        "format": source.format,
        "name": source.name,
        "splits": splits,
        "problems": problems.messages,
        "problem_count": problems.total,
    }


def describe(questions: Questions, seed: int = 0) -> dict[str, Any]:
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
        **_pictures(questions, seed),
    }


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
