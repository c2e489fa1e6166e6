"""Each format of VQA data read from real files, the splits made of them, and each bad input with its message."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.errors import ConfigError, DataError
from tasks.vqa.data import Options, load_splits
from tasks.vqa.inspection import inspect

EASY = Path(__file__).parents[4] / "shared" / "data" / "vqa" / "easy-vqa" / "easy_vqa" / "data"
ANSWERS = ["yes", "no", "red"]


def draw(path, i, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (i * 20 % 256, 40 + i % 3, 255 - i % 256)).save(path)


def rows(count, images, first=0):
    """`count` questions on `images` pictures, taken in turn."""
    return [(first + i, f"question {i}?", i % images, ANSWERS[i % 3]) for i in range(count)]


def write_csv(path, lines, header=("question_id", "image", "question", "answer")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


def table(folder, count=30, images=10, name="all.csv", first=0):
    """A CSV file with its pictures beside it."""
    for i in range(images):
        draw(folder / "pics" / f"{i}.png", i + first)
    write_csv(folder / name, [(q, f"pics/{i}.png", text, answer) for q, text, i, answer in rows(count, images, first)])
    return folder / name


def jsonl(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def official(folder, split="train", year="2014", count=12, images=4, first=1, pictures=True, annotate=True):
    """Questions, annotations and COCO images as the VQA site names them."""
    subtype = f"{split}{year}"
    folder.mkdir(parents=True, exist_ok=True)
    asked = [(first * 1000 + q, text, first + i, answer) for q, text, i, answer in rows(count, images)]
    questions = [{"image_id": i, "question": text, "question_id": q} for q, text, i, _ in asked]
    head = {"data_type": "mscoco", "data_subtype": subtype, "license": {}}
    (folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json").write_text(
        json.dumps({"info": {}, "task_type": "Open-Ended", **head, "questions": questions})
    )
    labels = [
        {
            "question_id": q, "image_id": i, "question_type": "what", "answer_type": "other", "multiple_choice_answer": a,
            "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)],
        }
        for q, _, i, a in reversed(asked)
    ]  # fmt: skip
    if annotate:
        path = folder / f"v2_mscoco_{subtype}_annotations.json"
        path.write_text(json.dumps({"info": {}, **head, "annotations": labels}))
    for i in range(images if pictures else 0):
        draw(folder / subtype / f"COCO_{subtype}_{first + i:012d}.jpg", i)
    return folder


def dataset(count=12, images=4, **columns):
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    entries = rows(count, images)
    pictures = [Image.new("RGB", (12, 10), (i, 40, 255 - i)) for i in range(images)]
    data = {
        "image": [pictures[i] for _, _, i, _ in entries],
        "question": [text for _, text, _, _ in entries],
        "question_id": [q for q, _, _, _ in entries],
        "answers": [
            [{"answer": a, "answer_confidence": "yes", "answer_id": k} for k in range(10)] for _, _, _, a in entries
        ],
        **columns,
    }
    features = Features({"image": ImageFeature(), "question": Value("string"), "question_id": Value("int64")})
    kept = Dataset.from_dict({name: data[name] for name in features}, features=features)
    for name in [name for name in data if name not in features]:
        kept = kept.add_column(name, data[name])
    return kept


def message(call, kind=DataError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def identical(a, b):
    return (np.asarray(a) == np.asarray(b)).all()


# Formats


def test_official_folder(tmp_path):
    official(tmp_path / "vqa", "train")
    official(tmp_path / "vqa", "val", count=6, images=3, first=50)
    splits = load_splits(Options(str(tmp_path / "vqa")))
    assert splits.description == "vqa: 12 + 6 questions on 7 images"
    assert not splits.held_out
    train = splits.train
    assert train.question_id[:2] == [1000, 1001]
    assert train.answers[1] == ["no"] * 10
    assert train.answer_type[0] == "other"
    assert train.image.tolist() == [0, 1, 2, 3] * 3
    assert train.images.where(2).endswith("train2014/COCO_train2014_000000000003.jpg")
    assert train.images.load(2).size == (12, 10)
    assert train.where(2).endswith("v2_OpenEnded_mscoco_train2014_questions.json, row 3")
    assert splits.evaluation.question_id[0] == 50000


def test_official_file_with_image_root_and_parted_folders(tmp_path):
    official(tmp_path / "made", "train", pictures=True)
    for kind in ("questions", "annotations"):
        target = tmp_path / "site" / kind.capitalize()
        target.mkdir(parents=True)
        for path in (tmp_path / "made").glob(f"*_{kind}.json"):
            path.rename(target / path.name)
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "train2014").rename(tmp_path / "pictures" / "deep" / "train2014")
    path = next((tmp_path / "site" / "Questions").iterdir())
    splits = load_splits(Options(str(path), image_root=str(tmp_path / "pictures"), eval_fraction=0.25))
    assert (len(splits.train), len(splits.evaluation)) == (9, 3)
    again = load_splits(
        Options(str(next((tmp_path / "site" / "Annotations").iterdir())), image_root=str(tmp_path / "pictures"))
    )
    assert len(again.train) + len(again.evaluation) == 12


def test_official_test_questions_are_for_prediction_only(tmp_path):
    official(tmp_path, "test", "2015", annotate=False)
    splits = load_splits(Options(str(tmp_path)), need=("prediction",))
    assert splits.train is None
    assert splits.evaluation.answers == [[]] * 12
    assert "none of its 12 questions has an answer" in message(
        lambda: load_splits(Options(str(tmp_path)), need=("evaluation",))
    )


def test_official_test_dev_uses_the_test_images(tmp_path):
    official(tmp_path, "test", "2015", annotate=False)
    path = tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json"
    document = json.loads(path.read_text())
    document["data_subtype"] = "test-dev2015"
    path.unlink()
    (tmp_path / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(document))
    assert load_splits(Options(str(tmp_path)), need=("prediction",)).evaluation.images.load(0).size == (12, 10)


def test_unlabelled_test_beside_train_gives_a_hold_out(tmp_path):
    official(tmp_path, "train")
    official(tmp_path, "test", "2015", annotate=False, first=90)
    splits = load_splits(Options(str(tmp_path), eval_fraction=0.25))
    assert splits.held_out
    assert len(splits.train) + len(splits.evaluation) == 12


def test_official_abstract_scenes(tmp_path):
    official(tmp_path, "train", "2015", pictures=False)
    for kind in ("OpenEnded_mscoco_train2015_questions", "mscoco_train2015_annotations"):
        path = tmp_path / f"v2_{kind}.json"
        document = {**json.loads(path.read_text()), "data_type": "abstract_v002"}
        path.unlink()
        (tmp_path / f"{kind.replace('mscoco', 'abstract_v002')}.json").write_text(json.dumps(document))
    for i in range(4):
        draw(tmp_path / "scene_img_abstract_v002_train2015" / f"abstract_v002_train2015_{i + 1:012d}.png", i)
    splits = load_splits(Options(str(tmp_path)), need=("train",))
    assert splits.train.images.where(0).endswith("abstract_v002_train2015_000000000001.png")


def test_official_without_its_images_names_what_it_looked_for(tmp_path):
    official(tmp_path, "train", pictures=False)
    text = message(lambda: load_splits(Options(str(tmp_path))))
    assert "train2014/COCO_train2014_000000000001.jpg" in text
    assert "--image-root" in text


@pytest.mark.parametrize("way", ["parquet", "folder of parquet", "saved", "arrow"])
def test_datasets(tmp_path, way):
    data = dataset()
    if way == "saved":
        data.save_to_disk(str(tmp_path / "set"))
        place = tmp_path / "set"
    elif way == "arrow":
        data.save_to_disk(str(tmp_path / "set"))
        place = next((tmp_path / "set").glob("*.arrow"))
    elif way == "parquet":
        place = tmp_path / "set.parquet"
        data.to_parquet(place)
    else:
        place = tmp_path / "set"
        for split in ("train", "validation"):
            (place / "data").mkdir(parents=True, exist_ok=True)
            data.to_parquet(place / "data" / f"{split}-00000-of-00001.parquet")
    splits = load_splits(Options(str(place), cache_dir=str(tmp_path / "cache"), eval_fraction=0.25))
    assert splits.held_out == (way != "folder of parquet")
    train = splits.train
    assert len(train) == (12 if way == "folder of parquet" else 9)
    assert len(train.images) == 4
    first = train.question_id.index(1) if 1 in train.question_id else 0
    i = train.question_id[first] % 4
    assert train.images.load(int(train.image[first])).getpixel((0, 0)) == (i, 40, 255 - i)
    assert train.answers[first] == [ANSWERS[train.question_id[first] % 3]] * 10
    assert train.where(first).endswith(f", row {train.question_id[first] + 1}")


def test_dataset_dict_with_splits_and_plain_answers(tmp_path):
    from datasets import DatasetDict

    data = dataset(answers=[a for _, _, _, a in rows(12, 4)])
    DatasetDict({"train": data, "val": data.select(range(5, 9))}).save_to_disk(str(tmp_path / "set"))
    splits = load_splits(Options(str(tmp_path / "set")))
    assert splits.evaluation.question_id == [5, 6, 7, 8]
    assert splits.evaluation.answers == [["red"], ["yes"], ["no"], ["red"]]


def test_an_id_that_names_several_pictures_leaves_each_question_its_own(tmp_path):
    dataset(image_id=[i % 2 for i in range(12)]).save_to_disk(str(tmp_path / "set"))
    splits = load_splits(Options(str(tmp_path / "set")), need=("train",))
    assert splits.train.image.tolist() == [0, 1, 2, 3] * 3
    assert splits.notes == [
        "2 image_id that name more than one picture, such as in rows 1 and 3: each question keeps the picture of its own row"
    ]


@pytest.mark.parametrize("form", ["image", "bytes", "path"])
def test_a_picture_under_many_ids_is_held_out_as_one(tmp_path, form):
    from datasets import Image as ImageFeature

    data = dataset(count=60, images=6, image_id=list(range(60)))
    if form != "image":
        entries = data.cast_column("image", ImageFeature(decode=False))
        cells = [cell["bytes"] for cell in entries["image"]]
        if form == "path":
            for i, blob in enumerate(cells):
                (tmp_path / f"{i}.png").write_bytes(blob)
            cells = [f"{i}.png" for i in range(60)]
        data = data.remove_columns("image").add_column("image", cells)
    data.to_parquet(tmp_path / "all.parquet")
    splits = load_splits(Options(str(tmp_path / "all.parquet"), cache_dir=str(tmp_path / "cache"), eval_fraction=0.4))
    pictures = [{part.images.content(int(i)) for i in part.image} for part in (splits.train, splits.evaluation)]
    assert splits.held_out
    assert len(pictures[0]) + len(pictures[1]) == 6
    assert not pictures[0] & pictures[1]


def test_dataset_answers_as_strings_and_multiple_choice(tmp_path):
    dataset(answers=[["a", "b"]] * 6 + [["c"]] * 6).save_to_disk(str(tmp_path / "lists"))
    assert load_splits(Options(str(tmp_path / "lists")), need=("train",)).train.answers[5:7] == [["a", "b"], ["c"]]
    data = dataset().remove_columns("answers").add_column("multiple_choice_answer", [a for _, _, _, a in rows(12, 4)])
    data.save_to_disk(str(tmp_path / "single"))
    assert load_splits(Options(str(tmp_path / "single")), need=("train",)).train.answers[2] == ["red"]


def test_the_guides_layout_in_a_dataset(tmp_path):
    from datasets import Dataset

    for i in range(4):
        draw(tmp_path / "pics" / f"{i}.jpg", i)
    entries = [
        {
            "question": text, "question_type": "what", "question_id": q, "image_id": str(tmp_path / "pics" / f"{i}.jpg"),
            "answer_type": "other", "label": {"ids": [a, "net"], "weights": [1.0, 0.3]} if q else {"ids": [], "weights": []},
        }
        for q, text, i, a in rows(12, 4)
    ]  # fmt: skip
    Dataset.from_list(entries).save_to_disk(str(tmp_path / "nested"))
    Dataset.from_list(entries).flatten().save_to_disk(str(tmp_path / "flat"))
    for name in ("nested", "flat"):
        train = load_splits(Options(str(tmp_path / name)), need=("train",)).train
        assert train.weights[:3] == [
            {},
            {"no": 1.0, "net": pytest.approx(0.3)},
            {"red": 1.0, "net": pytest.approx(0.3)},
        ]
        assert train.answers[1] == ["no", "net"]
        assert len(train.images) == 4


def test_the_guides_layout_in_json_lines_and_csv(tmp_path):
    for i in range(4):
        draw(tmp_path / f"{i}.png", i)
    entries = [
        {"question": t, "image_id": f"{i}.png", "label": {"ids": [a], "weights": [0.6]}} for _, t, i, a in rows(8, 4)
    ]
    jsonl(tmp_path / "a.jsonl", entries)
    lines = [(t, f"{i}.png", f"{a}|x", "1.0|0.3") for _, t, i, a in rows(8, 4)]
    write_csv(tmp_path / "b.csv", lines, ("question", "image_id", "label.ids", "label.weights"))
    assert load_splits(Options(str(tmp_path / "a.jsonl")), need=("train",)).train.weights[0] == {"yes": 0.6}
    assert load_splits(Options(str(tmp_path / "b.csv")), need=("train",)).train.weights[1] == {"no": 1.0, "x": 0.3}


def test_csv_with_one_file_a_split(tmp_path):
    table(tmp_path, 12, 6, "train.csv")
    table(tmp_path, 5, 5, "val.csv", first=100)
    splits = load_splits(Options(str(tmp_path)))
    assert (len(splits.train), len(splits.evaluation), splits.held_out) == (12, 5, False)
    assert splits.evaluation.question_id == [100, 101, 102, 103, 104]
    assert splits.train.where(0) == f"{tmp_path / 'train.csv'}, row 2"
    assert splits.train.answer_type[:3] == ["yes/no", "yes/no", "other"]


def test_split_column_and_named_splits(tmp_path):
    for i in range(6):
        draw(tmp_path / f"{i}.png", i)
    names = ["fit", "dev", "fit", "check"] * 3
    jsonl(
        tmp_path / "all.jsonl",
        [
            {"img": f"{i}.png", "question": t, "answer": a, "split": s}
            for (_, t, i, a), s in zip(rows(12, 6), names, strict=True)
        ],
    )
    path = str(tmp_path / "all.jsonl")
    splits = load_splits(Options(path, train_split="fit", eval_split="check"))
    assert (len(splits.train), len(splits.evaluation)) == (6, 3)
    assert len(load_splits(Options(path, train_split="fit")).evaluation) == 3
    text = message(lambda: load_splits(Options(path)), ConfigError)
    assert "fit, validation, check" in text
    assert "--train-split" in text
    assert "did you mean check?" in message(
        lambda: load_splits(Options(path, train_split="fit", eval_split="chek")), ConfigError
    )


def test_tsv_json_list_and_answer_forms(tmp_path):
    for i in range(2):
        draw(tmp_path / f"{i}.png", i)
    (tmp_path / "a.tsv").write_text(
        'image_path\tquestion\tanswers\n0.png\t"a, b?"\tyes|no|yes\n1.png\tc?\t["red", "blue"]\n'
    )
    train = load_splits(Options(str(tmp_path / "a.tsv")), need=("train",)).train
    assert train.question == ["a, b?", "c?"]
    assert train.answers == [["yes", "no", "yes"], ["red", "blue"]]
    entries = [
        {"file_name": "0.png", "question": "a?", "answers": [{"answer": "x"}, {"answer": "y"}]},
        {"file_name": "1.png", "question": "b?", "answers": {"answer": ["y", "y"]}},
        {"file_name": "1.png", "question": "c?", "answers": 3},
    ]
    entries.append({"file_name": "1.png", "question": "d?", "answers": "['x', 'z']"})
    (tmp_path / "b.json").write_text(json.dumps(entries))
    train = load_splits(Options(str(tmp_path / "b.json")), need=("train",)).train
    assert train.answers == [["x", "y"], ["y", "y"], ["3"], ["x", "z"]]
    assert train.image.tolist() == [0, 1, 1, 1]


def test_paths_beside_the_file_then_under_image_root(tmp_path):
    path = table(tmp_path / "here", 6, 3)
    (tmp_path / "here" / "pics").rename(tmp_path / "pics")
    assert len(load_splits(Options(str(path), image_root=str(tmp_path)), need=("train",)).train) == 6
    assert "pics/0.png: no such image file" in message(lambda: load_splits(Options(str(path))))


def test_named_columns(tmp_path):
    path = table(tmp_path, 6, 3)
    path.write_text(path.read_text().replace("image,question,answer", "where,asks,says"))
    named = {"image_column": "where", "question_column": "asks", "answer_column": "says"}
    assert load_splits(Options(str(path), **named), need=("train",)).train.answers[2] == ["red"]
    assert "no question column among question_id, where, asks, says" in message(lambda: load_splits(Options(str(path))))
    text = message(lambda: load_splits(Options(str(path), **{**named, "answer_column": "sais"})), ConfigError)
    assert "--answer-column sais" in text


def test_easy_vqa_folder(tmp_path):
    for split, count in (("train", 9), ("test", 4)):
        for i in range(3):
            draw(tmp_path / split / "images" / f"{i}.png", i)
        entries = [[text, answer, i] for _, text, i, answer in rows(count, 3)]
        (tmp_path / split / "questions.json").write_text(json.dumps(entries))
    splits = load_splits(Options(str(tmp_path)))
    assert splits.description == "easy-vqa: 9 + 4 questions on 6 images"
    assert splits.train.answers[2] == ["red"]
    assert splits.train.images.where(1).endswith("train/images/1.png")


@pytest.mark.skipif(not EASY.is_dir(), reason=f"the easy-VQA data are not at {EASY}")
def test_real_easy_vqa():
    splits = load_splits(Options(str(EASY)))
    assert splits.description == "easy-vqa: 38,575 + 9,673 questions on 5,000 images"
    assert sum(answers == ["yes"] for answers in splits.evaluation.answers) / 9673 == pytest.approx(0.3733, abs=1e-4)
    assert splits.train.images.load(0).size == (64, 64)


# Splits


def test_hold_out_is_by_image_and_from_the_seed(tmp_path):
    path = str(table(tmp_path, 60, 20))
    first, again, other = (load_splits(Options(path, seed=seed, eval_fraction=0.2)) for seed in (1, 1, 2))
    assert first.held_out
    held = set(first.evaluation.image.tolist())
    assert len(held) == 4
    assert not held & set(first.train.image.tolist())
    assert len(first.train) + len(first.evaluation) == 60
    assert first.evaluation.question_id == again.evaluation.question_id
    assert first.evaluation.question_id != other.evaluation.question_id


def test_copies_of_a_picture_stay_on_one_side(tmp_path):
    path = table(tmp_path, 40, 20)
    for i in range(10):
        draw(tmp_path / "pics" / f"{i + 10}.png", i)
    for seed in range(8):
        splits = load_splits(Options(str(path), seed=seed, eval_fraction=0.3))
        sides = [{image % 10 for image in part.image.tolist()} for part in (splits.train, splits.evaluation)]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pictures_that_given_splits_share_are_counted_and_left_out(tmp_path, kind):
    if kind == "csv":
        for i in range(6):
            draw(tmp_path / "pics" / f"{i}.png", i)
            draw(tmp_path / "more" / f"{i}.png", i + 4)  # the first two are copies of the last two there
        names = ("image", "question", "answer")
        write_csv(tmp_path / "train.csv", [(f"pics/{i}.png", f"question {i}?", "red") for i in range(6)], names)
        lines = [(f"more/{i}.png", f"Question  {4 if i == 0 else 9}?", ANSWERS[i % 3]) for i in range(6)]
        write_csv(tmp_path / "val.csv", [*lines, lines[0]], names)
        with open(tmp_path / "train.csv", "a", encoding="utf-8") as file:
            file.write("pics/0.png,other?,no\n")
    else:
        data = dataset(count=12, images=6)
        data.to_parquet(tmp_path / "train.parquet")
        later = dataset(count=10, images=10).select([4, 5, 6, 7, 8, 9, 4]).remove_columns("question_id")
        later.to_parquet(tmp_path / "val.parquet")
    cache = str(tmp_path / "cache")
    whole = load_splits(Options(str(tmp_path), cache_dir=cache))
    assert np.flatnonzero(whole.shared).tolist() == [0, 1, 6]
    same = 2 if kind == "csv" else 3
    (line,) = whole.leaks
    assert line.startswith(
        "3 of 7 evaluation questions have pictures that are also in the training split: they are not"
    )
    assert f"({same} of them ask the same of the same picture)" in line
    clean = load_splits(Options(str(tmp_path), cache_dir=cache, drop_leaks=True))
    assert (len(clean.evaluation), clean.shared.tolist()) == (4, [False] * 4)
    assert clean.leaks[0].startswith(
        "3 of 7 evaluation questions have pictures that are also in the training split, and are"
    )
    assert len(clean.train) == len(whole.train)


def test_all_evaluation_pictures_in_training_leaves_nothing(tmp_path):
    table(tmp_path, 6, 3, "train.csv")
    table(tmp_path, 3, 3, "val.csv")
    text = message(lambda: load_splits(Options(str(tmp_path), drop_leaks=True)))
    assert text.endswith("val.csv: all 3 evaluation questions have pictures that are also in the training split")


def test_subsets_are_random_and_repeatable(tmp_path):
    path = str(table(tmp_path, 200, 10))
    whole = load_splits(Options(path, eval_fraction=0.5))
    small = load_splits(Options(path, eval_fraction=0.5, max_samples=20, max_eval_samples=10))
    assert (len(small.train), len(small.evaluation)) == (20, 10)
    assert small.train.question_id == load_splits(Options(path, eval_fraction=0.5, max_samples=20)).train.question_id
    assert set(small.train.question_id) <= set(whole.train.question_id)
    assert small.train.question_id != whole.train.question_id[:20]
    assert "--max-samples 0" in message(lambda: load_splits(Options(path, max_samples=0)), ConfigError)
    assert "--eval-fraction 1" in message(lambda: load_splits(Options(path, eval_fraction=1.0)), ConfigError)


def test_evaluation_alone_takes_all_of_a_single_split(tmp_path):
    splits = load_splits(Options(str(table(tmp_path, 30, 10))), need=("evaluation",))
    assert splits.train is None
    assert len(splits.evaluation) == 30
    assert not splits.held_out


def test_only_the_images_in_use_are_opened(tmp_path):
    path = table(tmp_path, 40, 20)
    used = load_splits(Options(str(path), max_samples=3), need=("train",)).train
    kept = {used.images.where(int(i)) for i in used.image}
    for picture in (tmp_path / "pics").iterdir():
        if str(picture) not in kept:
            picture.unlink()
    assert len(load_splits(Options(str(path), max_samples=3), need=("train",)).train) == 3


def test_loading_twice_is_the_same(tmp_path):
    path = str(table(tmp_path, 50, 10))
    one, two = (load_splits(Options(path, max_samples=9)) for _ in range(2))
    assert one.train.question == two.train.question
    assert one.train.image.tolist() == two.train.image.tolist()


# Bad input


def test_every_bad_row_is_named(tmp_path):
    path = table(tmp_path, 8, 4)
    (tmp_path / "pics" / "3.png").write_text("hello")
    lines = [
        (0, "pics/0.png", "fine?", "yes"),
        (1, "", "no image?", "no"),
        (2, "pics/1.png", "  ", "no"),
        (0, "pics/1.png", "again?", "no"),
        (4, "pics/gone.png", "missing?", "no"),
        (5, "pics/3.png", "text?", "no"),
        (6, "pics/2.png", "no answer?", ""),
        (7, "pics/2.png", "fine?", "no"),
    ]
    write_csv(path, lines)
    text = message(lambda: load_splits(Options(str(path)), need=("train",)))
    for row, what in [
        (3, "has no image"),
        (4, "the question is empty"),
        (5, "question_id 0 is taken by row 2"),
        (6, f"{tmp_path / 'pics' / 'gone.png'}: no such image file"),
        (7, f"{tmp_path / 'pics' / '3.png'}: is not an image file, whatever its name says"),
        (8, "has no answer"),
    ]:
        assert f"{path}, row {row}: {what}" in text
    assert "--skip-bad" in text
    splits = load_splits(Options(str(path), skip_bad=True), need=("train",))
    assert splits.train.question_id == [0, 7]
    assert len(splits.skipped) == 5
    assert f"1 question left out: empty question, first {path}, row 4" in splits.skipped
    assert f"2 questions left out: image missing or broken (2), first {path}, row 6" not in splits.skipped
    assert any(line.startswith("2 questions left out: image missing or broken") for line in splits.skipped)


def test_ten_problems_are_listed_and_the_rest_counted(tmp_path):
    path = table(tmp_path, 30, 15)
    for i in range(13):
        (tmp_path / "pics" / f"{i}.png").unlink()
    text = message(lambda: load_splits(Options(str(path)), need=("train",)))
    assert text.count("no such image file") == 10
    assert "and 3 more" in text
    splits = load_splits(Options(str(path), skip_bad=True), need=("train",))
    assert splits.skipped[0].startswith("26 questions left out: image missing or broken (13)")


def test_cut_images_are_found_where_bad_ones_are_skipped(tmp_path):
    path = table(tmp_path, 12, 4)
    file = tmp_path / "pics" / "1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:3000])
    train = load_splits(Options(str(path)), need=("train",)).train
    assert f"{file}: broken image" in message(lambda: train.images.load(1))
    splits = load_splits(Options(str(path), skip_bad=True), need=("train",))
    assert len(splits.train) == 9
    assert "3 questions left out" in splits.skipped[0]


def test_one_class(tmp_path):
    path = table(tmp_path, 8, 4)
    path.write_text(path.read_text().replace(",no", ",Yes.").replace(",red", ",yes"))
    assert "every answer is 'yes'; training needs two different answers" in message(
        lambda: load_splits(Options(str(path)))
    )


@pytest.mark.parametrize("name", ["train.csv", "all.csv"])
def test_no_rows(tmp_path, name):
    write_csv(tmp_path / name, [])
    assert f"{tmp_path / name}: no rows" in message(lambda: load_splits(Options(str(tmp_path / name))))
    (tmp_path / name).write_text("")
    assert f"{tmp_path / name}: no rows" in message(lambda: load_splits(Options(str(tmp_path / name))))


def test_no_answers_at_all(tmp_path):
    path = table(tmp_path, 6, 3)
    write_csv(path, [(q, f"pics/{i}.png", t) for q, t, i, _ in rows(6, 3)], ("question_id", "image", "question"))
    assert "none of its 6 questions has an answer" in message(lambda: load_splits(Options(str(path))))


@pytest.mark.parametrize("weight", [float("nan"), -0.1, 1.5, "much", None])
def test_bad_weights(tmp_path, weight):
    draw(tmp_path / "0.png", 0)
    good = {"question": "q?", "image_id": "0.png", "label.ids": ["yes", "no"], "label.weights": [0.3, 1.0]}
    jsonl(tmp_path / "a.jsonl", [good, {**good, "label.weights": [0.3, weight]}, {**good, "label.ids": ["yes"]}])
    text = message(lambda: load_splits(Options(str(tmp_path / "a.jsonl")), need=("train",)))
    assert "a.jsonl, row 2: the weight of 'no' is" in text
    assert "a.jsonl, row 3: has 1 answers and 2 weights" in text
    assert len(load_splits(Options(str(tmp_path / "a.jsonl"), skip_bad=True), need=("evaluation",)).evaluation) == 1


def test_bad_rows_of_csv_and_json_lines(tmp_path):
    path = table(tmp_path, 4, 2)
    path.write_text(path.read_text() + "9,pics/0.png,what, then?,yes\n")
    assert f"{path}, row 6: has 5 cells under a header of 4" in message(lambda: load_splits(Options(str(path))))
    lines = ['{"image": "pics/0.png", "question": "a?", "answer": "b"}', '{"image": "pics', "[1]"]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    text = message(lambda: load_splits(Options(str(tmp_path / "x.jsonl"))))
    assert "x.jsonl, row 2: not valid JSON" in text
    assert "x.jsonl, row 3: not a JSON object" in text


def test_rows_count_lines_of_the_file(tmp_path):
    path = table(tmp_path, 2, 2)
    path.write_text(path.read_text() + '\n7,pics/0.png,"two\nlines?",no\n8,pics/none.png,b?,no\n')
    assert f"{path}, row 7: " in message(lambda: load_splits(Options(str(path))))


def test_broken_files(tmp_path):
    (tmp_path / "a.json").write_text('[{"image": ')
    (tmp_path / "b.parquet").write_text("hello")
    (tmp_path / "c.csv").write_bytes(b"image,question,answer\n\xff\xfe,\xe9,a\n")
    (tmp_path / "d.txt").write_text("hello")
    (tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json").write_text('{"questions": [')
    for name, what in [
        ("a.json", "not valid JSON"),
        ("b.parquet", "can't be read as a dataset"),
        ("c.csv", "not UTF-8"),
        ("d.txt", "not a format known here"),
        ("v2_OpenEnded_mscoco_train2014_questions.json", "not valid JSON"),
    ]:
        assert f"{tmp_path / name}: {what}" in message(lambda name=name: load_splits(Options(str(tmp_path / name))))


def test_missing_paths_name_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    table(tmp_path / "pictures", 4, 2, "train.csv")
    assert f"did you mean {tmp_path / 'pictures'}?" in message(lambda: load_splits(Options(str(tmp_path / "picturs"))))
    assert "did you mean" in message(lambda: load_splits(Options(str(tmp_path / "pictures" / "trian.csv"))))
    assert "no file or folder /nowhere/at/all" in message(lambda: load_splits(Options("/nowhere/at/all")))
    monkeypatch.chdir(tmp_path)
    for name in ("./nothing", "pictures/nothing", "nothing.csv", "a b", "pictures/nothing/more"):
        assert f"no file or folder {name}" in message(lambda name=name: load_splits(Options(name)))
    assert "did you mean pictures?" in message(lambda: load_splits(Options("picture")))
    assert "did you mean sample?" in message(lambda: load_splits(Options("smaple")))


def test_folders_that_hold_nothing_of_use(tmp_path):
    assert "it is empty" in message(lambda: load_splits(Options(str(tmp_path))))
    draw(tmp_path / "a.png", 0)
    assert "it holds a.png" in message(lambda: load_splits(Options(str(tmp_path))))


def test_loop_of_links(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    text = message(lambda: load_splits(Options(str(tmp_path / "loop"))))
    assert f"can't read {tmp_path / 'loop'}: too many levels of symbolic links" in text
    (tmp_path / "file").write_text("x")
    assert "not a directory" in message(lambda: load_splits(Options(str(tmp_path / "file" / "below"))))


def test_folder_without_permission(tmp_path, monkeypatch):
    table(tmp_path / "shut", 4, 2)
    real = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    text = message(lambda: load_splits(Options(str(tmp_path / "shut"))))
    assert f"can't read the folder {tmp_path / 'shut'}: permission denied" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions don't bind root")
def test_folder_without_permission_for_real(tmp_path):
    table(tmp_path / "shut", 4, 2)
    (tmp_path / "shut").chmod(0)
    try:
        assert "permission denied" in message(lambda: load_splits(Options(str(tmp_path / "shut"))))
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_two_files_for_one_split(tmp_path):
    table(tmp_path, 4, 2, "train_a.csv")
    table(tmp_path, 4, 2, "train_b.csv")
    text = message(lambda: load_splits(Options(str(tmp_path))))
    assert "train_a.csv" in text
    assert "train_b.csv" in text


def test_broken_images_in_a_dataset(tmp_path):
    import pyarrow.parquet

    cells = [{"bytes": b"hello", "path": None}, {"bytes": None, "path": None}, {"bytes": None, "path": "gone.png"}]
    columns = {"image": cells, "question": ["a?", "b?", "c?"], "answer": ["x", "y", "z"]}
    path = tmp_path / "set.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    text = message(lambda: load_splits(Options(str(path), cache_dir=str(tmp_path / "cache")), need=("train",)))
    assert f"{path}, row 1: is not an image file" in text
    assert f"{path}, row 2: has no image" in text
    assert f"{path}, row 3: no such image file" in text


# Inspection


def test_inspect_tells_what_is_there_and_what_is_wrong(tmp_path):
    path = table(tmp_path, 12, 4)
    path.write_text(path.read_text() + "99,pics/none.png,what is it?,Red.\n99,pics/0.png,,no\n")
    found = inspect(Options(str(path)))
    assert found["format"] == "CSV with image paths"
    split = found["splits"]["all"]
    assert split["questions"] == 13
    assert split["images"] == 5
    assert split["answers_per_question"] == {"1": 13}
    assert split["most_frequent_answers"] == {"red": 5, "no": 4, "yes": 4}
    assert split["image_modes"] == {"RGB": 4}
    assert split["image_sizes"] == {"12x10": 4}
    assert split["question_words"] == {"p0": 2, "p50": 2, "p95": 2, "p100": 3}
    assert found["problem_count"] == 2
    assert any("row 14" in line and "no such image file" in line for line in found["problems"])
    assert any("row 15" in line and "the question is empty" in line for line in found["problems"])
    json.dumps(found)


def test_inspect_lists_every_split(tmp_path):
    official(tmp_path, "train")
    official(tmp_path, "test", "2015", annotate=False, first=70)
    found = inspect(Options(str(tmp_path)))
    assert found["splits"]["train"]["answers_per_question"] == {"10": 12}
    assert found["splits"]["test"]["unlabelled"] == 12
    assert found["problems"] == []
    assert list(inspect(Options(str(tmp_path), train_split="train"))["splits"]) == ["train"]


def test_pictures_of_more_than_eight_bits_are_read_by_their_own_range_and_told(tmp_path):
    data = table(tmp_path, count=6, images=3)
    Image.fromarray(np.linspace(0, 4095, 120).astype(np.uint16).reshape(10, 12)).save(tmp_path / "pics" / "1.png")
    splits = load_splits(Options(str(data)), need=("evaluation",))
    shown = np.asarray(splits.evaluation.images.load(int(splits.evaluation.image[1])))
    assert (shown.min(), shown.max()) == (0, 255)  # and not 15, as after a division by 257
    assert splits.notes == [
        "1 picture of more than 8 bits, each read by its own range of values (own scale, if it fills 16 bits)"
    ]
    assert inspect(Options(str(data)))["splits"]["all"]["notes"] == splits.notes
