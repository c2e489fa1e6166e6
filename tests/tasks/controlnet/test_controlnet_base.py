"""Bases: what is loaded, and what is refused by its name."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_vqa_hub import Hub as DatasetHub
from untrained import random_base

from tasks.controlnet.cache import encoding
from tasks.controlnet.models import pretrained
from tasks.controlnet.tiny import pipeline as tiny
from tasks.controlnet.tiny import training
from tasks.controlnet.tiny.vae import start_linear
from tasks.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return random_base(tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "base"))


def change(path, **values):
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, **values}))


def refusal(model, **options):
    with pytest.raises(ConfigError) as found:
        pretrained.find_base(str(model), **options)
    assert "\n" not in str(found.value)
    assert str(found.value).startswith(f"--model {model}")
    return str(found.value)


def test_what_a_base_says_of_itself(whole):
    base = pretrained.find_base(str(whole))
    assert (base.vae_scale_factor, base.latent_channels, base.text_length, base.hidden_size) == (8, 4, 16, 16)
    assert (base.prediction_type, base.scaling_factor) == ("epsilon", 0.18215)
    assert pretrained.load_scheduler(base).config.beta_schedule == "scaled_linear"


def test_the_pipeline_of_diffusers_loads_it_and_encodes_the_same(whole):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(whole)
    base = pretrained.find_base(str(whole))
    prompts = ["burly wood circle with orange background", "Zebra!", ""]
    ids = encoding.tokenize(pretrained.load_tokenizer(base), prompts)
    hidden = encoding.encode_prompts(pretrained.load_text_encoder(base), ids)
    wanted, empty = pipeline.encode_prompt(prompts, "cpu", 1, True)
    assert torch.equal(hidden, wanted)
    assert torch.equal(hidden[2], empty[0])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)
    mean, std = encoding.encode_pixels(pretrained.load_vae(base), torch.from_numpy(pixels).permute(0, 3, 1, 2))
    # As the script has it: torchvision's ToTensor and Normalize([0.5], [0.5]).
    values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        latents = pipeline.vae.encode(values).latent_dist
    assert mean.shape == (2, 4, 8, 6)
    torch.testing.assert_close(mean, latents.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(std, latents.std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("factor", "channels"), [(4, (16, 32, 96)), (8, (16, 32, 96, 256)), (16, (16, 32, 96, 256, 256))]
)
def test_a_new_controlnet_fits_its_base_and_adds_nothing(tmp_path, factor, channels):
    base = pretrained.open_base(str(random_base(tmp_path / "base", vae_factor=factor)))
    unet = pretrained.load_unet(base)
    net = pretrained.new_controlnet(base, unet, seed=3)
    assert net.config.conditioning_embedding_out_channels == channels
    down, mid = net(
        torch.randn(1, 4, 8, 8),
        torch.tensor([5]),
        torch.randn(1, 16, 16),
        torch.rand(1, 3, 8 * factor, 8 * factor),
        return_dict=False,
    )
    assert all(not part.any() for part in (*down, mid))
    again = pretrained.new_controlnet(base, unet, seed=3)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), again.parameters(), strict=True))
    net.save_pretrained(tmp_path / "net")
    loaded = pretrained.load_controlnet(str(tmp_path / "net"), base=base)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), loaded.parameters(), strict=True))


def test_a_controlnet_that_is_no_plain_safetensors_says_how_to_mend_it(whole, tmp_path):
    base = pretrained.open_base(str(whole))
    net = tmp_path / "net"
    pretrained.new_controlnet(base, pretrained.load_unet(base)).save_pretrained(net)
    weights = net / "diffusion_pytorch_model.safetensors"
    weights.rename(net / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(
        ConfigError, match=r"fp16\.safetensors: put a copy named diffusion_pytorch_model\.safetensors beside"
    ):
        pretrained.load_controlnet(str(net), base=base)
    (net / "diffusion_pytorch_model.fp16.safetensors").rename(weights.with_suffix(".bin"))
    with pytest.raises(
        ConfigError, match=r"only pickles.* import ControlNetModel as P; .*, then --controlnet controlnet$"
    ):
        pretrained.load_controlnet(str(net), base=base)


def test_a_controlnet_of_another_base_says_what_does_not_fit(whole, tmp_path):
    base = pretrained.open_base(str(whole))
    other = pretrained.open_base(
        str(random_base(tmp_path / "other", cross_attention_dim=32, channels=(8, 8), vae_factor=4))
    )
    pretrained.new_controlnet(other, pretrained.load_unet(other)).save_pretrained(tmp_path / "net")
    with pytest.raises(ConfigError) as found:
        pretrained.load_controlnet(str(tmp_path / "net"), base=base)
    for part in (
        "values a token 32, not 16",
        "channels a block [8, 8], not [8, 16]",
        "1/4, the base's VAE a picture to 1/8",
    ):
        assert part in str(found.value)
    with pytest.raises(ConfigError, match="is a whole pipeline, not a ControlNet"):
        pretrained.load_controlnet(str(whole), base=base)
    assert "is a ControlNet; give it to --controlnet" in refusal(tmp_path / "net")


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "is Stable Diffusion XL;"),
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "is Stable Diffusion 3;"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "is FLUX;"),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "its text_encoder is a T5EncoderModel"),
        ("model_index.json", {"vae": [None, None], "scheduler": [None, None]}, "has no vae, scheduler;"),
        ("unet/config.json", {"in_channels": 9}, "is a model for inpainting: its UNet takes 9 channels, not 4"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "is Stable Diffusion XL;"),
        ("unet/config.json", {"class_embed_type": "projection"}, "(class_embed_type projection)"),
        ("unet/config.json", {"_class_name": "UNet3DConditionModel"}, "is a model with a UNet3DConditionModel"),
        ("unet/config.json", {"cross_attention_dim": 32}, "gives 16 values a token and its UNet takes 32"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "its scheduler predicts by sample"),
    ],
)  # fmt: skip
def test_other_models_are_refused_by_name(folder, file, values, told):
    change(folder / file, **values)
    assert told in refusal(folder)


def test_parts_that_are_missing_or_pickled(folder, tmp_path):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    assert refusal(folder, variant="fp16").endswith("has no weights of --variant fp16; leave it out")
    weights.rename(weights.with_suffix(".bin"))
    assert "only pickles, which are not loaded; convert a copy" in refusal(folder)
    weights.with_suffix(".bin").unlink()
    assert "has no vae weights as safetensors (vae/diffusion_pytorch_model.safetensors)" in refusal(folder)
    (folder / "unet" / "config.json").unlink()
    assert "has no unet/config.json; take a whole copy" in refusal(folder)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    assert "is a model of transformers (BertModel), not a Stable Diffusion" in refusal(tmp_path / "text")
    (tmp_path / "one.safetensors").write_bytes(b"")
    assert "one file in the original form; convert it: python -c" in refusal(tmp_path / "one.safetensors")
    assert refusal(tmp_path / "nowhere").endswith("no such file or folder")


def test_nan_and_a_file_cut_short(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    sound = load_file(path)
    name = sorted(sound)[0]
    save_file({**sound, name: torch.full_like(sound[name], torch.nan)}, path)
    base = pretrained.open_base(str(folder))
    with pytest.raises(DataError, match=f"the weights {name} hold NaN"):
        pretrained.load_unet(base)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Exception, match="can't be loaded") as found:
        pretrained.load_unet(base)
    assert "\n" not in str(found.value)


def test_a_variant_is_taken_where_it_is(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(half, path.with_name("diffusion_pytorch_model.fp16.safetensors"), {"format": "pt"})
    path.unlink()
    base = pretrained.open_base(str(folder), variant="fp16")
    assert base.variants == {"unet": "fp16", "vae": None, "text_encoder": None}
    unet = pretrained.load_unet(base)
    assert unet.dtype == torch.float32
    assert torch.equal(unet.conv_in.weight, half["conv_in.weight"].float())
    with pytest.raises(ConfigError, match=r"there is diffusion_pytorch_model.fp16.safetensors: name its --variant"):
        pretrained.open_base(str(folder))


LOAD = """
import sys
from tasks.controlnet.models import pretrained
from tasks.errors import ToolError
for name in sys.argv[1:]:
    try:
        base = pretrained.find_base(name)
        pretrained.load_unet(base), pretrained.load_tokenizer(base)
        print(base.name, base.vae_scale_factor, sorted(p.name for p in (base.folder / "unet").iterdir()))
    except ToolError as error:
        print(type(error).__name__, error)
"""


class Hub(DatasetHub):
    """The same for models."""

    asked: list = []  # noqa: RUF012

    def answer(self):
        self.asked.append(self.path)
        if "/tree/" in self.path:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            files = self.files["some/sd"].items()
            return self.reply(200, [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files])
        if self.path.startswith("/api/models/"):
            self.path = self.path.replace("/api/models/", "/api/datasets/")
        elif "/resolve/" in self.path:
            self.path = f"/datasets{self.path}"
        return super().answer()

    do_GET = do_HEAD = do_POST = answer


def test_from_the_hub_only_what_is_needed_then_from_its_cache(whole, tmp_path, monkeypatch):
    files = {
        path.relative_to(whole).as_posix(): path.read_bytes() for path in sorted(whole.rglob("*")) if path.is_file()
    }
    unet = "unet/diffusion_pytorch_model"
    extra = (f"{unet}.non_ema.safetensors", f"{unet}.bin", "v1-5.ckpt", "safety_checker/model.safetensors")
    monkeypatch.setattr(Hub, "files", {"some/sd": files | dict.fromkeys(extra, b"large")})
    monkeypatch.setattr(Hub, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def load(endpoint):
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[3])
        command = [sys.executable, "-c", LOAD, "some/sd"]
        run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    wanted = "some/sd 8 ['config.json', 'diffusion_pytorch_model.safetensors']"
    assert load(f"http://127.0.0.1:{server.server_port}") == wanted
    server.shutdown()
    assert not [path for path in Hub.asked if any(name in path for name in extra)]
    assert load("http://127.0.0.1:9") == wanted


def test_the_tiny_vae_starts_by_giving_back_mean_colours():
    torch.manual_seed(0)
    vae = tiny.build_vae(training.VAE_CHANNELS, groups=1)
    start_linear(vae)
    pictures = training.pictures(seed=0, first=0, count=8)
    mean, std = encoding.encode_pixels(vae, pictures)
    squares = torch.nn.functional.avg_pool2d(pictures / 127.5 - 1, 4)
    # Within the little that the norms differ from picture to picture.
    torch.testing.assert_close(mean[:, :3], squares, rtol=0, atol=0.15)
    assert (vae.decode(mean).sample - pictures / 127.5 + 1).abs().mean() < 0.15
    assert std.mean().item() == pytest.approx(np.exp(-4), rel=1e-3)


def test_tiny_is_made_once_and_whole(tmp_path, monkeypatch):
    for name, value in {"VAE_STEPS": 2, "STEPS": 2, "SCENES": 50, "VAE_SCENES": 16}.items():
        monkeypatch.setattr(training, name, value)
    base = pretrained.find_base("tiny", cache_dir=tmp_path, seed=5)
    assert (base.name, base.vae_scale_factor) == ("tiny", 4)
    assert base.scaling_factor != 0.18215
    first = {path: path.stat().st_mtime_ns for path in sorted(base.folder.rglob("*"))}
    assert pretrained.find_base("tiny", cache_dir=tmp_path, seed=5) == base
    assert {path: path.stat().st_mtime_ns for path in sorted(base.folder.rglob("*"))} == first
    other = pretrained.find_base("tiny", cache_dir=tmp_path / "other", seed=5)
    for component in ("unet", "vae", "text_encoder"):
        assert [path.read_bytes() for path in other.files(component)] == [
            path.read_bytes() for path in base.files(component)
        ]

    def stop(line):
        raise DataError("asked to stop")

    monkeypatch.setattr(training, "SAY_SECONDS", -1.0)
    with pytest.raises(DataError):
        pretrained.find_base("tiny", cache_dir=tmp_path, seed=6, say=stop)
    assert [path.name for path in (tmp_path / "tiny").iterdir() if path.is_dir()] == [base.folder.name]
