"""`tool data build controlnet`: what it leaves, that it goes on, and what it refuses."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import ENVIRONMENT, TOOL

from recipes.config import options_of, resolve
from recipes.controlnet import build_passes
from recipes.controlnet.build import build
from recipes.controlnet.build_config import OF_KIND, Build
from tasks.controlnet import conditions
from tasks.controlnet.building import folder as building
from tasks.errors import ConfigError, DataError, OutOfDisk, Preempted

DREAMBOOTH = Path(__file__).parents[3].parent / "shared" / "data" / "controlnet" / "dreambooth-512"


def photo(number, size=(48, 40)):
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures in two folders."""
    folder = tmp_path / "photos"
    for number in range(12):
        path = folder / ("dog" if number % 2 else "old_cat") / f"test-{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(path)
    return folder


def config(photos, output, **more):
    return Build(images=str(photos), output=str(output), **{"caption": "class", "workers": 2, **more})


def contents(folder):
    """Every file but the report, which holds times, by its digest."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "report.json"
    }


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_datasets_loads_what_was_built(photos, tmp_path, fraction):
    import datasets

    out = tmp_path / "test-pairs"
    done = build(config(photos, out, resolution=32, condition="gray", eval_fraction=fraction))
    loaded = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == (
        {"train": 9, "validation": 3} if fraction else {"train": 12}
    )
    assert (done["pairs"], done["train"], done["validation"]) == (12, *((9, 3) if fraction else (12, 0)))
    assert set(loaded["train"].column_names) == {"image", "conditioning_image", "text", "source"}
    for row in loaded["train"]:
        assert row["text"] == ("dog" if "dog/" in row["source"] else "old cat")
        assert row["image"].size == (32, 32)
        assert row["conditioning_image"].tobytes() == row["image"].convert("L").convert("RGB").tobytes()
        whole = Image.open(photos / row["source"]).convert("RGB")
        assert row["image"].tobytes() == building.framed(whole, (32, 32)).tobytes()


def test_sheet_report_and_closing_words(photos, tmp_path):
    shutil.copy(photos / "dog" / "test-01.png", photos / "dog" / "test-99.png")
    done = build(config(photos, tmp_path / "out", condition="palette", palette_block=8))
    with Image.open(done["sheet"]) as sheet:
        assert sheet.width > 1000
        assert len(sheet.convert("RGB").getcolors(1 << 20)) > 500
    report = json.loads(Path(done["report"]).read_text())
    assert report["pairs"] == report["made_by_this_call"] == report["copied_as_they_are"] == 12
    assert report["left_out"] == [
        {"file": "dog/test-99.png", "reason": "same file twice", "detail": "as dog/test-01.png"}
    ]
    assert "same file twice, first dog/test-99.png (as dog/test-01.png)" in done["text"]
    note = json.loads((tmp_path / "out" / "build.json").read_text())
    assert note["condition"] == "palette"
    assert note["condition_options"] == {"colours": 16, "block": 8}


def test_blank_conditions_that_it_made_are_told(photos, tmp_path):
    Image.new("RGB", (48, 40), (90, 120, 150)).save(photos / "dog" / "sky.png")
    done = build(config(photos, tmp_path / "pairs", condition="canny"))
    line = next(line for line in done["text"].splitlines() if line.startswith("blank"))
    assert done["blank"] >= 1
    assert line.startswith(f"blank     {done['blank']} of 13 conditions ")
    report = json.loads((tmp_path / "pairs" / "report.json").read_text())
    assert "dog/sky.png" in [entry["file"] for entry in report["blank_conditions"]]
    plain = build(config(photos, tmp_path / "grey", condition="gray"))
    assert plain["blank"] == 1  # the sky alone


def test_the_same_bytes_with_one_worker_and_with_many_and_after_an_interruption(photos, tmp_path, monkeypatch):
    options = {"resolution": 32, "condition": "scribble", "eval_fraction": 0.25}
    build(config(photos, tmp_path / "one", workers=1, **options))
    build(config(photos, tmp_path / "many", workers=5, **options))
    make_pair, calls, stopping = building.make_pair, [], [True]

    def stops(*arguments):
        calls.append(arguments[0].number)
        if len(calls) == 5 and stopping:
            os.kill(os.getpid(), signal.SIGTERM)
        make_pair(*arguments)

    monkeypatch.setattr(building, "make_pair", stops)
    with pytest.raises(Preempted, match=r"stopped by SIGTERM; \d+ of 12 pairs are in .*: run the same command again"):
        build(config(photos, tmp_path / "stopped", workers=1, **options))
    assert not list((tmp_path / "stopped").rglob("metadata.jsonl"))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("*.png")}
    assert 8 <= len(kept) < 24
    # A killed process leaves a file behind that it was writing; and one half of a pair.
    leftover = next(iter(kept)).parent / ".000011.png.abc.part"
    leftover.write_bytes(b"half")
    calls.clear()
    stopping.clear()
    done = build(config(photos, tmp_path / "stopped", workers=3, **options))
    assert done["made"] == len(calls) == 12 - len(kept) // 2
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert not leftover.exists()
    assert contents(tmp_path / "one") == contents(tmp_path / "many") == contents(tmp_path / "stopped")


def test_a_condition_that_is_missing_is_made_again(photos, tmp_path):
    build(config(photos, tmp_path / "out"))
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "conditioning_images" / "000003.png").unlink()
    assert build(config(photos, tmp_path / "out"))["made"] == 1
    assert contents(tmp_path / "out") == before


def test_another_build_in_the_same_folder_is_refused_with_the_difference(photos, tmp_path):
    out = tmp_path / "out"
    build(config(photos, out, canny_low=50))
    before = contents(out)
    with pytest.raises(ConfigError, match="was begun otherwise: condition canny then, gray now"):
        build(config(photos, out, condition="gray"))
    with pytest.raises(ConfigError, match="low 50 then, 100 now"):
        build(config(photos, out))
    with pytest.raises(ConfigError, match="caption class then, none now"):
        build(config(photos, out, canny_low=50, caption="none"))
    photo(99).save(photos / "dog" / "new.png")
    with pytest.raises(ConfigError, match=r"of 12 pictures then, 13 now"):
        build(config(photos, out, canny_low=50))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds something else"):
        build(config(photos, tmp_path / "full"))
    assert contents(out) == before


def test_broken_pictures_stop_the_build_or_are_left_out(photos, tmp_path):
    (photos / "dog" / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"dog/text\.jpg: broken: is not an image file.*--skip-bad"):
        build(config(photos, tmp_path / "out", resolution=32))
    assert not (tmp_path / "out").exists()
    (photos / "dog" / "text.jpg").unlink()
    whole = (photos / "dog" / "test-01.png").read_bytes()
    (photos / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"dog/cut\.png: broken image .*what is made stays"):
        build(config(photos, tmp_path / "out", resolution=32))
    assert not (tmp_path / "out" / "metadata.jsonl").exists()
    done = build(config(photos, tmp_path / "out", resolution=32, skip_bad=True))
    assert (done["pairs"], done["made"], done["left_out"]) == (12, 0, {"broken": 1})
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"images/{n:06d}.png" for n in range(13) if n != 0]
    with pytest.raises(DataError, match="no picture is left to make a pair of; 13 below the resolution"):
        build(config(photos, tmp_path / "large", resolution=512, skip_bad=True))


def test_too_little_room_is_seen_before_anything_is_written(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.controlnet.build.free_bytes", lambda path: 1000)
    with pytest.raises(OutOfDisk, match=r"12 pairs will take about .* kB, and 1\.0 kB are free"):
        build(config(photos, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_captions_of_a_model_are_kept_and_the_batches_are_the_same_after_a_stop(photos, tmp_path, monkeypatch):
    seen = []

    def load(model, token, device):
        def network(pictures):
            seen.append(len(pictures))
            if len(seen) == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            # What one is called depends on the company it is in.
            return [f"picture {one.getpixel((0, 0))[0]} of {len(pictures)}" for one in pictures]

        return network

    monkeypatch.setattr("recipes.controlnet.build_passes.load_blip", load)
    options = {"caption": "blip", "caption_template": "a {caption}", "batch_size": 5, "condition": "gray"}
    stop_at = 0
    build(config(photos, tmp_path / "whole", **options))
    assert seen == [5, 5, 2]
    seen.clear()
    stop_at = 2
    with pytest.raises(Preempted, match="stopped by SIGINT"):
        build(config(photos, tmp_path / "out", **options))
    with open(tmp_path / "out" / build_passes.CAPTIONS, "a") as file:
        file.write('\n{"number": 11, "te')  # killed while it noted
    seen.clear()
    stop_at = 0
    build(config(photos, tmp_path / "out", **options))
    assert seen == [2]
    metadata = [(tmp_path / name / "metadata.jsonl").read_text() for name in ("whole", "out")]
    assert metadata[0] == metadata[1]
    assert json.loads(metadata[0].splitlines()[11])["text"].endswith("of 2")
    seen.clear()
    build(config(photos, tmp_path / "out", **options))
    assert seen == []


def test_conditions_of_a_model_come_from_the_written_pictures(photos, tmp_path, monkeypatch):
    module = conditions.module("depth")
    opened = []

    def load(model, token, device):
        opened.append(model)
        return lambda pictures: [one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in pictures]

    monkeypatch.setattr(module, "load", load)
    build(config(photos, tmp_path / "out", condition="depth", depth_model="mine", resolution=32, batch_size=5))
    assert opened == ["mine"]
    for number in range(12):
        with (
            Image.open(tmp_path / "out" / f"images/{number:06d}.png") as image,
            Image.open(tmp_path / "out" / f"conditioning_images/{number:06d}.png") as condition,
        ):
            assert condition.tobytes() == image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    build(config(photos, tmp_path / "out", condition="depth", depth_model="mine", resolution=32, batch_size=5))
    assert opened == ["mine"]  # nothing to do, nothing loaded


def test_a_tiny_blip_writes_captions(photos, tmp_path):
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "dog", "cat", "red"]
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    blip = transformers.BlipConfig(
        text_config={
            **shared,
            "vocab_size": len(words),
            "encoder_hidden_size": 16,
            "max_position_embeddings": 64,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "sep_token_id": 3,
            "pad_token_id": 0,
        },
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    folder = tmp_path / "blip"
    transformers.BlipForConditionalGeneration(blip).save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    processor = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(processor, tokenizer).save_pretrained(folder)
    options = {"caption": "blip", "caption_model": str(folder), "caption_template": "so: {caption}", "cpu": True}
    build(config(photos, tmp_path / "out", **options))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    for row in rows:
        assert row["text"].startswith("so: ")
        assert set(row["text"].removeprefix("so: ").split()) <= set(words)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--images: give the folder of pictures"),
        ({"images": "nowhere"}, "--images nowhere: no such folder"),
        ({"resolution": "100"}, "--resolution: 100 is not a multiple of 8; take 96 or 104"),
        ({"blur_sigma": "3"}, "--blur-sigma is for --condition blur, and this is canny"),
        ({"condition": "landmarks"}, "give their annotations: --landmarks FILE or FOLDER"),
        ({"caption": "blib"}, "--caption blib: neither a file nor one of none, class, column, txt, blip"),
        ({"caption": "class", "caption_column": "x"}, "--caption-column is for --caption column or a file"),
        ({"caption": "class", "caption_template": "a photo"}, "--caption-template: must hold {caption}"),
        ({"condition": "cany"}, "'cany' is not one of .*did you mean 'canny'"),
        ({"canny_low": "much"}, "--canny-low: 'much' is not a whole number"),
    ],
)
def test_wrong_options_are_told(tmp_path, flags, message):
    given = {"images": str(tmp_path)} if flags else {}
    with pytest.raises(ConfigError, match=message):
        resolve(Build, {**given, **flags})


def test_the_defaults_that_help_shows_are_those_of_the_conditions(tmp_path):
    assert resolve(Build, {"images": str(tmp_path), "canny_low": "auto"}).canny_low == "auto"
    shown = {info.name: info.default_text for info in options_of(Build)}
    compared = 0
    for name, (kind, inner) in OF_KIND.items():
        if inner and name != "landmarks_thickness":
            assert shown[name] == str(conditions.resolved(kind, {})[inner]), name
            compared += 1
    assert compared == 8
    for kind in conditions.BY_MODEL:
        assert shown[f"{kind}_model"] == conditions.module(kind).DEFAULT


def test_the_command_builds_stops_and_goes_on(photos, tmp_path):
    for number in range(14):
        photo(100 + number, (640, 640)).save(photos / "dog" / f"large-{number}.png", compress_level=0)
    command = [TOOL, "data", "build", "controlnet", "--images", photos, "--condition", "edges", "--workers", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    made = tmp_path / "controlnet-pairs" / "conditioning_images"
    deadline = time.monotonic() + 60
    while (not made.is_dir() or len(list(made.glob("0*.png"))) < 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75, said
    assert "of 26 pairs are in controlnet-pairs: run the same command again" in said
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=True
    )
    told = json.loads(done.stdout)
    assert told["pairs"] == 26
    assert 0 < told["made"] < 26


def test_only_recipes_that_build_are_offered_and_nothing_heavy_is_loaded():
    code = (
        "import sys\nfrom cli.main import main\n"
        "for args in (['data', 'build', '--help'], ['data', 'build', 'controlnet', '--help']):\n"
        "    try:\n        main(args)\n    except SystemExit:\n        pass\n"
        "print([name for name in ('torch', 'cv2', 'transformers', 'datasets', 'PIL') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "controlnet" in done.stdout
    assert "--palette-block N" in done.stdout
    assert "forecast" not in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="no real photographs beside the repository")
def test_real_photographs_with_the_classes_of_their_table(tmp_path):
    shutil.copy(DREAMBOOTH / "metadata.jsonl", tmp_path)
    (tmp_path / "images").mkdir()
    for path in sorted((DREAMBOOTH / "images").iterdir())[::12]:
        shutil.copy(path, tmp_path / "images")
    options = {"condition": "palette", "caption_template": "a photo of a {caption}"}
    done = build(config(tmp_path / "images", tmp_path / "out", **options))
    assert done["pairs"] == 14
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["text"] == "a photo of a backpack"
    assert {row["text"] for row in rows} >= {"a photo of a dog", "a photo of a stuffed animal"}
