import os

import pytest
import torch
from click.testing import CliRunner

from vlad.backbones.backbone import Backbone
from vlad.cli import main
from vlad.prompts import Prompts, load_bank
from vlad.scoring import textcache
from vlad.scoring.textcache import embed_prompts

PROMPTS = Prompts(("a nut.", "the nut.", "a nut."), ("a bent nut.", "the nut."))


class CountingBackbone:
    """Embeds a sentence as random numbers seeded by it, and remembers what it was asked."""

    def __init__(self, fingerprint="f" * 64):
        self.fingerprint = fingerprint
        self.asked = []

    def encode_text(self, sentences, activation=None):
        self.asked.append(list(sentences))
        seeds = [sum(s.encode()) for s in sentences]
        rows = [torch.randn(8, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.stack(rows)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    forget(monkeypatch)
    return tmp_path / "cache" / "text"


def forget(monkeypatch):
    """Leaves only the disk, as in a new process."""
    monkeypatch.setattr(textcache, "_memory", {})


def assert_equal(a, b):
    assert torch.equal(a.normal, b.normal)
    assert torch.equal(a.anomalous, b.anomalous)


def test_rows_are_the_embeddings_of_the_sentences_in_order():
    text = embed_prompts(CountingBackbone(), PROMPTS)
    assert torch.equal(text.normal, CountingBackbone().encode_text(PROMPTS.normal))
    assert torch.equal(text.anomalous, CountingBackbone().encode_text(PROMPTS.anomalous))
    assert text.normal.dtype == torch.float32


def test_each_sentence_is_encoded_once():
    backbone = CountingBackbone()
    embed_prompts(backbone, PROMPTS)
    assert backbone.asked == [["a nut.", "the nut.", "a bent nut."]]


def test_memory_and_disk_give_the_same_bits_without_the_backbone(monkeypatch, cache):
    backbone = CountingBackbone()
    prompts = load_bank("winclip").expand("hazelnut")
    fresh = embed_prompts(backbone, prompts)
    assert_equal(fresh, embed_prompts(backbone, prompts))
    forget(monkeypatch)
    assert_equal(fresh, embed_prompts(backbone, prompts))
    assert len(backbone.asked) == 1
    assert [p.suffix for p in cache.iterdir()] == [".safetensors"]


def test_other_weights_and_other_sentences_are_other_entries(cache):
    backbone, other = CountingBackbone(), CountingBackbone("0" * 64)
    embed_prompts(backbone, PROMPTS)
    embed_prompts(other, PROMPTS)
    embed_prompts(backbone, Prompts(PROMPTS.normal, PROMPTS.anomalous[:1]))
    assert (len(backbone.asked), len(other.asked)) == (2, 1)
    assert len(list(cache.iterdir())) == 3


def test_another_activation_is_another_entry(monkeypatch, small_backbone):
    plain = embed_prompts(small_backbone, PROMPTS)
    quick = embed_prompts(small_backbone, PROMPTS, "quick_gelu")
    assert not torch.allclose(plain.normal, quick.normal)
    for _ in range(2):  # from memory, then from disk
        assert_equal(embed_prompts(small_backbone, PROMPTS), plain)
        assert_equal(embed_prompts(small_backbone, PROMPTS, "quick_gelu"), quick)
        forget(monkeypatch)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "of other sentences"])
def test_a_damaged_file_is_written_anew(monkeypatch, cache, damage):
    fresh = embed_prompts(CountingBackbone(), PROMPTS)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    if damage == "of other sentences":
        embed_prompts(CountingBackbone(), Prompts(("a",), ("b",)))
        (other,) = set(cache.iterdir()) - {path}
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes({"truncated": whole[:-5], "empty": b"", "garbage": b"x" * 99}[damage])
    forget(monkeypatch)
    backbone = CountingBackbone()
    assert_equal(fresh, embed_prompts(backbone, PROMPTS))
    assert len(backbone.asked) == 1
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "file"))
    backbone = CountingBackbone()
    fresh = embed_prompts(backbone, PROMPTS)
    assert_equal(fresh, embed_prompts(backbone, PROMPTS))
    assert len(backbone.asked) == 1  # from memory
    forget(monkeypatch)
    embed_prompts(backbone, PROMPTS)
    assert len(backbone.asked) == 2


def test_no_part_of_a_file_is_left_when_the_disk_is_full(monkeypatch, cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    embed_prompts(CountingBackbone(), PROMPTS)
    assert list(cache.iterdir()) == []


def test_changing_the_result_in_place_leaves_the_cache_alone():
    text = embed_prompts(CountingBackbone(), PROMPTS)
    before = text.normal.clone()
    text.normal.div_(text.normal.norm(dim=-1, keepdim=True))
    assert torch.equal(embed_prompts(CountingBackbone(), PROMPTS).normal, before)


def test_what_scoring_cached_can_be_used_in_training():
    with torch.inference_mode():
        embed_prompts(CountingBackbone(), PROMPTS)
    text = embed_prompts(CountingBackbone(), PROMPTS)
    weight = torch.ones(8, requires_grad=True)
    (text.normal @ weight).sum().backward()
    assert torch.allclose(weight.grad, text.normal.sum(0))


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(textcache, "MEMORY", 3)
    for i in range(5):
        embed_prompts(CountingBackbone(), Prompts((f"nut {i}",), ("bent",)))
    assert len(textcache._memory) == 3
    backbone = CountingBackbone()
    embed_prompts(backbone, Prompts(("nut 4",), ("bent",)))
    assert backbone.asked == []


def test_a_later_command_on_a_known_category_embeds_nothing(
    small_file, drawn, tmp_path, monkeypatch
):
    drawn[0].save(tmp_path / "nut.png")
    asked, encode = [], Backbone.encode_text
    monkeypatch.setattr(
        Backbone, "encode_text", lambda *a, **options: asked.append(1) or encode(*a, **options)
    )
    seen = []
    for name in ("first", "second"):
        forget(monkeypatch)
        options = ["--category", "nut", "--backbone", str(small_file), "--out", tmp_path / name]
        done = CliRunner().invoke(main, ["score", *map(str, [tmp_path / "nut.png", *options])])
        assert done.exit_code == 0, done.output
        seen.append(len(asked))
    assert seen[0] == seen[1] > 0
