"""What a user relies on: batch, order, company and precision do not change the scores."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from vlad.adapters import find_adapter, read_adapter
from vlad.errors import HeadError, InputError, PromptError
from vlad.heads import load_head
from vlad.heads.memory_gather import layers_of
from vlad.scoring.extractor import Extractor
from vlad.scoring.featurecache import CachedExtractor
from vlad.scoring.panel import Panel
from vlad.types import FeatureSpec


def panel(backbone, *names, images=(), **options):
    made = Panel(backbone, {name: load_head(name) for name in names}, **options)
    return made.fit(images) if images else made


def score(made, images, batch_size=8):
    prepared = [made.prepare(image) for image in images]
    parts = [
        made.score(prepared[i : i + batch_size], "hazelnut")
        for i in range(0, len(prepared), batch_size)
    ]
    return {
        name: (
            torch.cat([part[name].image_score for part in parts]).numpy(),
            torch.cat([part[name].anomaly_map for part in parts]).numpy(),
        )
        for name in made.heads
    }


def assert_same(found, expected, atol=1e-5):
    for name, values in expected.items():
        for mine, theirs in zip(found[name], values, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def few_shot(small_backbone, drawn):
    return panel(small_backbone, "winclip", "memory", images=drawn[:2])


def test_shapes_and_bounds(few_shot, drawn):
    for name, (scores, maps) in score(few_shot, drawn).items():
        low, high = few_shot.heads[name].map_range
        assert scores.shape == (len(drawn),)
        assert maps.shape == (len(drawn), 64, 64)
        assert maps.min() >= low
        if name == "winclip":  # the scale of memory is no bound
            assert maps.max() <= high


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_do_not_change_scores(few_shot, drawn, batch_size):
    assert_same(score(few_shot, drawn, batch_size), score(few_shot, drawn))


def test_order_does_not_change_scores(few_shot, drawn):
    expected = {k: (s[::-1], m[::-1]) for k, (s, m) in score(few_shot, drawn).items()}
    assert_same(score(few_shot, drawn[::-1]), expected)


def test_company_of_other_heads_does_not_change_scores(small_backbone, few_shot, drawn):
    together = score(few_shot, drawn)
    for name in ("winclip", "memory"):
        alone = panel(small_backbone, name, images=drawn[:2])
        assert_same(score(alone, drawn), {name: together[name]})


def test_the_order_of_references_does_not_change_scores(small_backbone, few_shot, drawn):
    turned = panel(small_backbone, "winclip", "memory", images=drawn[1::-1], batch_size=1)
    assert_same(score(turned, drawn), score(few_shot, drawn))


def test_a_reference_itself_is_normal(small_backbone, drawn):
    found = score(panel(small_backbone, "memory", images=drawn[:2]), drawn)["memory"][0]
    assert found[:2].max() < 1e-5 < found[2:].min()


def test_bfloat16_stays_within_2e_2_of_the_range(small_file, few_shot, drawn):
    from vlad.backbones import load_backbone

    half = load_backbone(str(small_file), device="cpu", dtype="bfloat16")
    found = score(panel(half, "winclip", "memory", images=drawn[:2]), drawn)
    for name, (scores, maps) in score(few_shot, drawn).items():
        low, high = few_shot.heads[name].map_range
        assert np.abs(found[name][0] - scores).max() < 2e-2 * (high - low)
        assert np.abs(found[name][1] - maps).max() < 2e-2 * (high - low)


def test_rotated_references_are_remembered_beside_the_upright_ones(small_backbone, drawn):
    head = load_head("memory", rotations=4)
    Panel(small_backbone, {"memory": head}, batch_size=3).fit(drawn[:2])
    assert all(len(rows) == 2 * 4 * 16 for rows in head.memory_.values())


def test_coreset_keeps_the_fraction(small_backbone, drawn):
    head = load_head("memory", coreset=0.25)
    Panel(small_backbone, {"memory": head}).fit(drawn[:2])
    assert [len(head.memory_[name]) for name in layers_of(head.memory_)] == [8] * 3


def test_heads_with_equal_passes_share_one(small_backbone, drawn, monkeypatch):
    passes = []
    vision = small_backbone.vision
    monkeypatch.setattr(
        small_backbone, "vision", Spy(vision, lambda **options: passes.append(options))
    )
    made = panel(small_backbone, "winclip", "memory", "patchcore", images=drawn[:2])
    passes.clear()
    score(made, drawn[:2])
    assert len(passes) == 1


def test_specs_that_show_no_difference_on_this_backbone_share_one_pass(
    small_backbone, monkeypatch, drawn
):
    passes = []
    vision = small_backbone.vision
    monkeypatch.setattr(small_backbone, "vision", Spy(vision, lambda **o: passes.append(o)))
    extractor = Extractor(small_backbone)
    # at its own size no position is resized, and its own activation is no other
    specs = [
        FeatureSpec(layers=(2,)),
        FeatureSpec(layers=(4,), pos_embed="bicubic", activation="gelu"),
        FeatureSpec(layers=(4,), activation="quick_gelu"),
    ]
    extractor.extract([extractor.prepare(drawn[0], specs)], specs)
    assert len(passes) == 2


def test_prompts_are_made_from_the_pass_without_them(small_backbone, drawn, monkeypatch):
    passes, seen = [], []
    vision = small_backbone.vision
    monkeypatch.setattr(small_backbone, "vision", Spy(vision, lambda **o: passes.append(o)))

    def prompts(image):
        seen.append(image)
        return {1: image.new_ones(len(image), 2, small_backbone.info.width)}

    extractor = Extractor(small_backbone)
    specs = [FeatureSpec(layers=(4,), prompts=prompts), FeatureSpec(layers=(4,))]
    prepared = [extractor.prepare(image, specs) for image in drawn[:2]]
    with_prompts, without = extractor.extract(prepared, specs)
    assert len(passes) == 2
    torch.testing.assert_close(seen[0], without.image)
    torch.testing.assert_close(with_prompts.plain, without.image)
    assert without.plain is None
    assert with_prompts.patches[4].shape == without.patches[4].shape
    assert (with_prompts.patches[4] - without.patches[4]).abs().max() > 1e-3


def test_images_of_several_sizes_in_one_batch(small_backbone, drawn):
    one, other = Extractor(small_backbone), Extractor(small_backbone, image_size=96)
    specs = [FeatureSpec(layers=(4,))]
    prepared = [one.prepare(drawn[0], specs), other.prepare(drawn[1], specs)]
    with pytest.raises(InputError, match="64 and 96 pixels"):
        one.extract(prepared, specs)


class Spy:
    """A backbone's vision that reports each call and passes everything on."""

    def __init__(self, vision, report):
        self.vision, self.report = vision, report

    def __call__(self, pixels, **options):
        self.report(**options)
        return self.vision(pixels, **options)

    def __getattr__(self, name):
        return getattr(self.vision, name)


@pytest.mark.parametrize("output", ["raw", "ln_post", "ln_post_proj", "proj"])
def test_patch_outputs(small_backbone, small_clip, drawn, output):
    extractor, spec = Extractor(small_backbone), FeatureSpec(layers=(4,), patch_output=output)
    prepared = extractor.prepare(drawn[0], [spec])
    (found,) = extractor.extract([prepared], [spec])
    visual = small_clip.visual
    with torch.no_grad():
        (pixels,) = prepared.values()
        tokens = visual.transformer(visual._embeds(torch.from_numpy(pixels)[None]))[:, 1:]
        expected = {
            "raw": tokens,
            "ln_post": visual.ln_post(tokens),
            "ln_post_proj": visual.ln_post(tokens) @ visual.proj,
            "proj": tokens @ visual.proj,
        }[output]
    torch.testing.assert_close(found.patches[4], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cached", [False, True])
def test_layers_keep_their_order_and_several_blocks_are_averaged(
    small_backbone, drawn, tmp_path, cached
):
    plain = Extractor(small_backbone)
    extractor = CachedExtractor(small_backbone, None, tmp_path) if cached else plain
    spec, each = FeatureSpec(layers=((1, 3), 4, 2)), FeatureSpec(layers=(1, 2, 3, 4))
    prepared = [plain.prepare(image, [spec]) for image in drawn[:2]]
    (blocks,) = plain.extract(prepared, [each])
    for _ in range(2):  # the second time from the cache
        (found,) = extractor.extract(prepared, [spec])
        assert list(found.patches) == [(1, 3), 4, 2]
        mean = (blocks.patches[1] + blocks.patches[3]) / 2
        torch.testing.assert_close(found.patches[1, 3], mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.patches[2], blocks.patches[2], atol=1e-5, rtol=0)


def test_image_only_backbone(dinov2_folder, drawn):
    from vlad.backbones import load_backbone

    backbone = load_backbone(str(dinov2_folder), device="cpu")
    with pytest.raises(HeadError, match="no text encoder"):
        panel(backbone, "winclip")
    found = score(panel(backbone, "memory", images=drawn[:2]), drawn)
    assert found["memory"][1].shape == (len(drawn), 56, 56)


def test_words_decide_the_zero_shot_score(small_backbone, drawn, tmp_path):
    bank = tmp_path / "mine.toml"
    bank.write_text(
        'title = "Mine"\nsource = "me"\nlicence = "CC0-1.0"\ntemplates = ["a scan of {}"]\n'
        'states = { normal = ["a healthy {}"], anomalous = ["a sick {}"] }\n'
    )
    own = score(panel(small_backbone, "winclip"), drawn)["winclip"][0]
    mine = score(panel(small_backbone, "winclip", bank=str(bank)), drawn)["winclip"][0]
    assert np.abs(own - mine).max() > 1e-4


def test_unknown_bank_and_missing_category(small_backbone, drawn):
    with pytest.raises(PromptError, match="Unknown prompt bank"):
        panel(small_backbone, "winclip", bank="nonsense")
    made = panel(small_backbone, "winclip")
    with pytest.raises(HeadError, match="give a `category`"):
        made.score([made.prepare(drawn[0])], None)


LONG = """
title = "t"
source = "s"
licence = "CC0-1.0"
templates = ["a photo of {}.", "a picture of {}."]
[states]
normal = ["%s good {}"]
anomalous = ["broken {}"]
"""


@pytest.mark.parametrize("head", ["winclip", "anomalyclip", "adaclip"])
def test_sentences_that_are_cut_are_said_with_their_count(
    head, small_backbone, small_adapter, tmp_path
):
    params = {} if head == "winclip" else {"adapter": small_adapter(head)}
    for words, said in ((50, 0), (90, 1)):
        (tmp_path / "mine.toml").write_text(LONG % ("very " * words))
        for _ in range(2):  # the second time from the cache of texts
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                made = Panel(
                    small_backbone,
                    {head: load_head(head, **params)},
                    bank=str(tmp_path / "mine.toml"),
                )
                made.text(head, "nut")
                made.text(head, "nut")
            found = [str(w.message) for w in caught if "tokens" in str(w.message)]
            assert len(found) == said
            assert not said or "2 of 4 sentences of the prompt bank mine" in found[0]


def test_learned_words_leave_less_room_for_sentences(small_backbone, small_adapter, tmp_path):
    # 77 tokens with winclip, and 12 learned words in front with anomalyclip
    (tmp_path / "mine.toml").write_text(LONG % ("very " * 60))
    adapter = small_adapter("anomalyclip")
    made = Panel(
        small_backbone,
        {"winclip": load_head("winclip"), "anomalyclip": load_head("anomalyclip", adapter=adapter)},
        bank=str(tmp_path / "mine.toml"),
    )
    made.text("winclip", "nut")
    with pytest.warns(UserWarning, match=r"reads 65 tokens .*: 2 of 4"):
        made.text("anomalyclip", "nut")


def test_an_adapter_of_another_backbone_is_said(small_backbone, small_adapter):
    """Weights of the same shapes load, and nothing else tells that they do not belong together."""
    own = read_adapter(find_adapter(small_adapter("april_gan")))
    other = replace(own, backbone="ViT-B-32/openai")
    with pytest.warns(UserWarning, match="was trained on ViT-B-32/openai, and .* is small; its"):
        Panel(small_backbone, {"april_gan": load_head("april_gan", adapter=other)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Panel(small_backbone, {"april_gan": load_head("april_gan", adapter=own)})
