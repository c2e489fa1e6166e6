"""Grids of pictures in the trackers, once each over a resume."""

import pytest
from PIL import Image

from recipes.runs.folder import Run
from recipes.runs.trackers import Trackers


def log(run, trackers, steps):
    """As the loop does, with a grid at every evaluation."""
    for step in steps:
        line = {"kind": "validation", "step": step, "seconds": step / 10, "gain": 0.1}
        path = run.path / "validation" / f"step-{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 4), (step, 0, 0)).save(path)
        run.log(line)
        trackers.log(line)
        trackers.picture("validation/pictures", path, step)


def test_tensorboard_has_each_grid_once_over_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(tmp_path)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [10, 20, 30])
    trackers.close()
    run.cut_metrics(20)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [30, 40])
    trackers.close()
    reader = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    reader.Reload()
    assert reader.Tags()["images"] == ["validation/pictures"]
    images = reader.Images("validation/pictures")
    assert [(event.step, event.width, event.height) for event in images] == [(step, 8, 4) for step in (10, 20, 30, 40)]


def test_wandb_has_each_grid_in_the_row_of_its_step(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb_files import offline_folders, rows

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "controlnet-20261123-0100-a1b2"
    folder.mkdir()
    run = Run(folder)
    for steps in ([10, 20], [20, 30]):
        run.cut_metrics(10)
        trackers = Trackers(["wandb"], folder, "p", {})
        log(run, trackers, steps)
        trackers.close()
    (kept,) = offline_folders(folder)
    found = rows(kept)
    assert [row["_step"] for row in found] == [10, 20, 30]
    for row in found:
        told = {key: row[f"validation/pictures/{key}"] for key in ("_type", "width", "height")}
        assert told == {"_type": "image-file", "width": 8, "height": 4}
        assert row["validation/gain"] == 0.1
        with Image.open(kept / "files" / row["validation/pictures/path"]) as picture:
            assert picture.getpixel((0, 0)) == (row["_step"], 0, 0)


def test_a_picture_that_was_lost_does_not_stop_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    run = Run(tmp_path)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [10, 20])
    trackers.close()
    (tmp_path / "validation" / "step-000010.png").write_bytes(b"")
    (tmp_path / "validation" / "step-000020.png").unlink()
    Trackers(["tensorboard"], tmp_path, "p", {}).close()
