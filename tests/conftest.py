"""What the tests share: a cache of their own, the reference outputs, small backbones."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
sys.path.append(str(Path(__file__).parent))  # of box_models, memory_plain and other helpers
# a slow machine is no failure
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
PARITY = Path(os.environ.get("VLAD_PARITY", ROOT.parent / "shared" / "parity"))

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120_000  # milliseconds that a page may take


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache, or reaches for the network."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def parity() -> SimpleNamespace:
    """The reference outputs: `folder`, `weights`, `images`, `module(name)` for others, and
    `case(name)` -> arrays."""
    if not (PARITY / "weights.py").is_file():
        pytest.skip(f"no reference outputs in {PARITY} (set VLAD_PARITY to their folder)")

    def module(name: str):
        spec = importlib.util.spec_from_file_location(f"parity_{name}", PARITY / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = found
        spec.loader.exec_module(found)
        return found

    def case(name: str) -> dict[str, np.ndarray]:
        with np.load(PARITY / "cases" / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return SimpleNamespace(
        folder=PARITY,
        weights=module("weights"),
        images=module("images"),
        module=module,
        case=case,
    )


@pytest.fixture(scope="session")
def parity_backbone(parity):
    """name -> Backbone with the seeded weights of the reference outputs ("tinyb16_240", ...)."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    from vlad.backbones.open_clip import as_backbone

    def make(name: str):
        model = open_clip.CLIP(**parity.weights.oc_config(name))
        model.load_state_dict(parity.weights.state_dict(name))
        tokenizer = open_clip.SimpleTokenizer()
        return as_backbone(name, model, tokenizer, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)

    return make


@pytest.fixture(scope="session")
def parity_image(parity):
    """ "bottle/test/defect/000.png" -> the drawn RGB image of that path."""
    from PIL import Image

    def draw(path: str):
        category, split, kind, file = Path(path).parts[-4:]
        index = int(Path(file).stem) + (100 if split == "train" else 0)
        return Image.fromarray(parity.images.make(category, index, kind != "good")[0])

    return draw


@pytest.fixture(scope="session")
def small_config() -> dict:
    """open_clip's config of a CLIP small enough for any test: 4 blocks, 4×4 patches."""
    return {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 1,
            "layers": 9,  # as many as AnomalyCLIP puts tokens into
        },
    }


@pytest.fixture(scope="session")
def small_clip(small_config):
    """A random model of that config."""
    import open_clip
    import torch

    torch.manual_seed(0)
    return open_clip.CLIP(**small_config).eval()


@pytest.fixture(scope="session")
def small_file(small_clip, tmp_path_factory) -> Path:
    """The same as a weights file whose architecture is read off its tensors."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({k: v.contiguous() for k, v in small_clip.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def small_backbone(small_file):
    """The model of `small_file`, and maps of a convolutional network beside it."""
    from small_maps import with_maps

    from vlad.backbones import load_backbone

    return with_maps(load_backbone(str(small_file), device="cpu"))


@pytest.fixture(scope="session")
def small_adapter(small_backbone, tmp_path_factory):
    """head -> folder of an adapter with seeded tensors for the small backbone."""
    import torch

    from vlad.adapters import Adapter, save_adapter
    from vlad.adapters.layouts import default_params, layout_of, tensor_shapes

    def make(head: str) -> str:
        params = default_params(head, small_backbone.info)
        generator = torch.Generator().manual_seed(0)
        tensors = {
            name: 0.2 * torch.randn(shape, generator=generator)
            for name, shape in tensor_shapes(head, small_backbone.info, params).items()
        }
        if layout_of(head).from_text:  # vectors far apart give all images a probability of 1
            tensors["learned"] = tensors["task"] + 0.05 * tensors["learned"]
        for name, x in tensors.items():
            if name.endswith("running_var"):  # no variance is negative
                x.abs_().add_(1)
        folder = tmp_path_factory.mktemp("adapter")
        save_adapter(Adapter(head, head, "small", "nothing", params, tensors), folder)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def small_vlm(tmp_path_factory) -> str:
    """Folder of a small vision-language model with random weights."""
    from vlm_models import idefics3

    return str(idefics3(tmp_path_factory.mktemp("vlm")))


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory) -> Path:
    """A random DINOv2 as `save_pretrained` writes it: a backbone without text."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14
    )
    folder = tmp_path_factory.mktemp("dinov2")
    transformers.Dinov2Model(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def drawn() -> list:
    """Six drawn RGB images of different sizes; the last two have a stain."""
    from PIL import Image

    found = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        height, width = 90 + 5 * seed, 120 - 3 * seed
        y, x = np.mgrid[0:height, 0:width]
        waves = np.stack([np.sin(x / 7 + c) * np.cos(y / 9 + seed / 3 + c) for c in range(3)], -1)
        pixels = 128 + 50 * waves + random.normal(0, 5, (height, width, 3))
        if seed > 3:
            pixels[30:50, 40:70] = random.uniform(0, 255, 3)
        found.append(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return found


@pytest.fixture
def images(drawn, tmp_path) -> Path:
    """A folder with those images, 0.png to 5.png."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(drawn):
        image.save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run_env(tmp_path_factory) -> dict[str, str]:
    """The environment of a command run as a user runs it, with this test's own cache."""
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    return {**os.environ, "VLAD_CACHE": cache, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def category(drawn):
    """Fills a folder in MVTec layout with drawn images: 4 for reference, `normal` to score and
    the two with a stain at rows 30-50, columns 40-70."""

    from PIL import Image

    def save(image, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)

    def fill(folder, normal):
        for i in range(4):
            save(drawn[i], folder / "train" / "good" / f"{i}.png")
        for i in range(normal):
            save(drawn[i].rotate(180), folder / "test" / "good" / f"{i}.png")
        for i in (4, 5):
            save(drawn[i], folder / "test" / "stain" / f"{i}.png")
            mask = np.zeros(drawn[i].size[::-1], np.uint8)
            mask[30:50, 40:70] = 255
            save(Image.fromarray(mask), folder / "ground_truth" / "stain" / f"{i}_mask.png")

    return fill


@pytest.fixture(scope="module")  # while it runs, asyncio has a loop in this thread
def browser():
    """Chromium, with a camera that shows a test pattern."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sync_api.expect.set_options(timeout=PATIENCE)
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser among {', '.join(BROWSERS)}")
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield started
        started.close()
