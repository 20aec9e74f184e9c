"""Authors' checkpoints: read whole or refused with a sentence, never executed, written back."""

import json
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from vlad.adapters import Adapter, digest_of, load_adapter, read_adapter, save_adapter
from vlad.adapters.checkpoint import read_checkpoint, write_checkpoint
from vlad.adapters.layouts import LAYOUTS, default_params, tensor_shapes, theirs
from vlad.errors import AdapterError

HEADS = sorted(LAYOUTS)


def make(head, backbone, seed=0, **sizes):
    """An adapter of seeded tensors."""
    params = {**default_params(head, backbone), **sizes}
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(shape, generator=generator)
        for name, shape in tensor_shapes(head, backbone, params).items()
    }
    return Adapter("made", head, "small", "nothing", params, tensors)


def authors_file(adapter, file, change=lambda state: None):
    """The same as the authors' programs save it."""
    layout = LAYOUTS[adapter.head]
    lead = layout.lead or {}
    state = {
        theirs(adapter.head, n): x.reshape((1,) * lead.get(n, 0) + x.shape)
        for n, x in adapter.tensors.items()
    }
    change(state)
    if layout.parts:
        torch.save(
            {
                key: {n: x for n, x in state.items() if re.fullmatch(pattern, n)}
                for key, pattern in layout.parts.items()
            },
            file,
        )
    else:
        torch.save({layout.key: state} if layout.key else state, file)
    return file


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("head", [head for head in HEADS if LAYOUTS[head].authors])
def test_import_and_export_are_inverse(head, small_backbone, tmp_path):
    adapter = make(head, small_backbone.info)
    file = authors_file(adapter, tmp_path / "a.pth")
    tensors, params = read_checkpoint(file, head, small_backbone.info)
    assert_equal(tensors, adapter.tensors)
    assert params == adapter.params
    out = tmp_path / "b"
    write_checkpoint(adapter, out, small_backbone)
    again, _ = read_checkpoint(out, head, small_backbone.info)
    assert_equal(again, adapter.tensors)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_tensors_alone_and_those_of_a_parallel_model(prefix, small_backbone, tmp_path):
    adapter = make("sowa", small_backbone.info)
    file = authors_file(adapter, tmp_path / "a.pth")
    state = torch.load(file, weights_only=True)["state_dict"]
    torch.save({f"{prefix}{name}": x for name, x in state.items()}, file)
    tensors, _ = read_checkpoint(file, "sowa", small_backbone.info)
    assert_equal(tensors, adapter.tensors)


def test_a_head_of_our_own_has_no_files_of_authors(small_backbone, tmp_path):
    with pytest.raises(AdapterError, match="No other program reads files of head uniadet"):
        read_checkpoint(tmp_path / "a.pth", "uniadet", small_backbone.info)
    with pytest.raises(AdapterError, match="No other program reads files of head uniadet"):
        write_checkpoint(make("uniadet", small_backbone.info), tmp_path / "b.pth", small_backbone)


def test_sizes_are_read_off_the_file(small_backbone, tmp_path):
    made = make("anomalyclip", small_backbone.info, context=7, deep_blocks=2, deep_tokens=3)
    file = authors_file(made, tmp_path / "a.pth")
    tensors, params = read_checkpoint(file, "anomalyclip", small_backbone.info)
    assert_equal(tensors, made.tensors)
    assert (params["context"], params["deep_blocks"], params["deep_tokens"]) == (7, 2, 3)


def test_anomalyclip_export_has_all_that_the_strict_loader_asks_for(
    parity, small_backbone, tmp_path
):
    released = json.loads(
        (parity.folder / "anomalyclip_vitl14_336_prompt_learner_shapes.json").read_text()
    )
    write_checkpoint(make("anomalyclip", small_backbone.info), tmp_path / "a.pth", small_backbone)
    state = torch.load(tmp_path / "a.pth", weights_only=True)["prompt_learner"]
    width = small_backbone.info.text_width
    expected = {n: tuple(width if x == 768 else x for x in s) for n, s in released.items()}
    assert {n: tuple(x.shape) for n, x in state.items()} == expected
    ids = state["tokenized_prompts_neg"][0, 0]
    words = small_backbone.text.embed(ids[None])[0]
    assert torch.equal(state["token_suffix_neg"][0, 0], words[13:])


PARTS = ("visual", "textual", "pq")


def test_adaptclip_export_has_all_that_the_strict_loader_asks_for(parity, small_backbone, tmp_path):
    info = small_backbone.info
    write_checkpoint(make("adaptclip", info), tmp_path / "a.pth", small_backbone)
    saved = torch.load(tmp_path / "a.pth", weights_only=True)
    joint = info.embed_dim
    widths = {768: joint, 192: joint // 4}, {768: info.text_width}, {768: joint}
    for part, width in zip(PARTS, widths, strict=True):
        shapes = (parity.folder / f"adaptclip_vitl14_336_{part}_shapes.json").read_text()
        state = saved[f"{part}_learner"]
        expected = {n: [width.get(x, x) for x in s] for n, s in json.loads(shapes).items()}
        assert {n: list(x.shape) for n, x in state.items()} == expected
    for name in ("local_adapter.{}.4.weight", "global_adapter.{}.6.weight"):
        assert torch.equal(state[name.format(3)], state[name.format(0)])


def renamed(old, new):
    def change(state):
        state[new] = state.pop(old)

    return change


def replaced(name, value):
    def change(state):
        state[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("fc.1.bias"), "fc.1.bias is missing"),
        (renamed("fc.1.bias", "extra.bias"), "extra.bias"),
        (
            replaced("fc.0.weight", torch.zeros(3, 5)),
            r"fc.0.weight .*\(3, 5\).*\(32, 128\)",
        ),
        (replaced("fc.0.bias", torch.full((32,), torch.nan)), "fc.0.bias .* NaN"),
        (replaced("fc.0.bias", torch.zeros(32, dtype=torch.int64)), "int64"),
        (replaced("fc.0.bias", "text"), "'fc.0.bias' .* is not a tensor"),
        (replaced("fc.4.bias", torch.zeros(32)), "projections for 5 blocks, but `layers` has 4"),
        (lambda s: s.pop("fc.3.weight"), "fc.3.weight is missing"),
        (replaced("fc.0.bias", torch.zeros(32).to_sparse()), "_sparse_tensor, which is not a pl"),
        (replaced("fc.0.bias", torch.zeros(32, device="meta")), "fc.0.bias .* has no values"),
        (replaced(f"fc.{'9' * 5000}.bias", torch.zeros(32)), "projections for 5 blocks"),
        (replaced("fc.0.bias", torch.zeros(32, dtype=torch.complex64)), "complex64"),
        # 20 TB if anything but its shape were looked at
        (
            replaced("fc.0.bias", torch.zeros(1).half().expand(10**7, 10**6)),
            r"fc.0.bias .*10000000",
        ),
    ],
)
def test_a_wrong_tensor_is_named(change, words, small_backbone, tmp_path):
    file = authors_file(make("april_gan", small_backbone.info), tmp_path / "a.pth", change)
    with pytest.raises(AdapterError, match=words):
        read_checkpoint(file, "april_gan", small_backbone.info)


def test_more_learned_blocks_than_the_text_encoder_has(small_backbone, tmp_path):
    from dataclasses import replace

    file = authors_file(make("anomalyclip", small_backbone.info), tmp_path / "a.pth")
    shallow = replace(small_backbone.info, text_depth=5)
    with pytest.raises(AdapterError, match="deep_blocks of the adapter is 8"):
        read_checkpoint(file, "anomalyclip", shallow)
    assert default_params("anomalyclip", shallow)["deep_blocks"] == 4


def test_another_backbone_and_another_head(small_backbone, tmp_path):
    from dataclasses import replace

    made = make("anomalyclip", small_backbone.info)
    file = authors_file(made, tmp_path / "a.pth")
    wider = replace(small_backbone.info, text_width=96)
    with pytest.raises(AdapterError, match=r"ctx_.*\(1, 1, 12, 64\).*\(1, 1, 12, 96\)"):
        read_checkpoint(file, "anomalyclip", wider)
    with pytest.raises(AdapterError, match="unlike a checkpoint of april_gan"):
        read_checkpoint(file, "april_gan", small_backbone.info)
    with pytest.raises(AdapterError, match="prompt_learner"):
        read_checkpoint(file, "adaclip", small_backbone.info)
    with pytest.raises(AdapterError, match="uses no adapter"):
        read_checkpoint(file, "memory", small_backbone.info)
    blind = replace(small_backbone.info, text_width=None)
    with pytest.raises(AdapterError, match="text encoder"):
        read_checkpoint(file, "anomalyclip", blind)


class Evil:
    """A pickle that would leave a file behind if it were executed."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_with_code_is_not_executed(small_backbone, tmp_path):
    trace = tmp_path / "trace"
    torch.save({"trainable_linearlayer": Evil(trace)}, tmp_path / "a.pth")
    with pytest.raises(AdapterError, match="nothing in it was executed") as refused:
        read_checkpoint(tmp_path / "a.pth", "april_gan", small_backbone.info)
    assert not trace.exists()
    assert "weights_only" not in str(refused.value)  # no advice to execute it after all


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"PK\x03\x04", "truncated"),
        (b"\x80\x02", r"a\.pth"),
        (b"\x00" * 64, "not a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint(content, words, small_backbone, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(AdapterError, match=words) as refused:
        read_checkpoint(tmp_path / "a.pth", "april_gan", small_backbone.info)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("layers", [[1, 2, 3, 9], [1, 1, 2, 3], [1, 2]])
def test_layers_that_the_backbone_or_the_file_does_not_have(layers, small_backbone, tmp_path):
    file = authors_file(make("april_gan", small_backbone.info), tmp_path / "a.pth")
    with pytest.raises(AdapterError, match="blocks"):
        read_checkpoint(file, "april_gan", small_backbone.info, layers)


@pytest.mark.parametrize("words", [0, 73])
def test_more_words_than_a_sentence_holds_or_none(words, small_backbone, tmp_path):
    def change(state):
        state.update({f"ctx_{side}": torch.zeros(1, 1, words, 64) for side in ("pos", "neg")})

    file = authors_file(make("anomalyclip", small_backbone.info), tmp_path / "a.pth", change)
    with pytest.raises(AdapterError, match="context"):
        read_checkpoint(file, "anomalyclip", small_backbone.info)


def test_export_refuses_a_backbone_of_another_width(small_backbone, tmp_path):
    from dataclasses import replace

    narrow = make("anomalyclip", replace(small_backbone.info, text_width=16))
    with pytest.raises(AdapterError, match="16 channels"):
        write_checkpoint(narrow, tmp_path / "a.pth", small_backbone)
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype, small_backbone, tmp_path):
    def change(state):
        state.update({name: x.to(dtype) for name, x in state.items()})

    made = make("adaclip", small_backbone.info)
    file = authors_file(made, tmp_path / "a.pth", change)
    tensors, _ = read_checkpoint(file, "adaclip", small_backbone.info)
    assert_equal(tensors, {name: x.to(dtype).float() for name, x in made.tensors.items()})
    assert {x.dtype for x in tensors.values()} == {torch.float32}


def test_a_truncated_checkpoint_and_a_folder(small_backbone, tmp_path):
    file = authors_file(make("april_gan", small_backbone.info), tmp_path / "a.pth")
    file.write_bytes(file.read_bytes()[:-2000])
    for path in (file, tmp_path):
        with pytest.raises(AdapterError, match="not readable"):
            read_checkpoint(path, "april_gan", small_backbone.info)


def test_a_damaged_byte_is_noticed(small_backbone, tmp_path):
    made = make("april_gan", small_backbone.info)
    file = authors_file(made, tmp_path / "a.pth")
    content = bytearray(file.read_bytes())
    at = content.find(made.tensors["projections.0.weight"].numpy().tobytes())
    content[at + 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(AdapterError, match="damaged"):
        read_checkpoint(file, "april_gan", small_backbone.info)


class Hiding(dict):
    """Pickled as an OrderedDict with an attribute in the place of its method `items`."""

    def __reduce__(self):
        return OrderedDict, (), {"items": set}, None, iter(dict.items(self))


def test_attributes_that_hide_methods_are_left_in_the_file(small_backbone, tmp_path):
    made = make("april_gan", small_backbone.info)
    state = Hiding()
    file = authors_file(made, tmp_path / "a.pth", state.update)
    state["fc.0.bias"].float = torch.Size
    torch.save({"trainable_linearlayer": state}, file)
    tensors, _ = read_checkpoint(file, "april_gan", small_backbone.info)
    assert_equal(tensors, make("april_gan", small_backbone.info).tensors)
    state["fc.0.bias"] = "text"
    torch.save({"trainable_linearlayer": state}, file)
    with pytest.raises(AdapterError, match=r"'fc\.0\.bias' .* is not a tensor"):
        read_checkpoint(file, "april_gan", small_backbone.info)


def test_tensors_that_share_a_storage_or_are_transposed_keep_their_numbers(
    small_backbone, tmp_path
):
    def change(state):
        names = [f"fc.{i}.weight" for i in range(4)]
        whole = torch.stack([state[name].T for name in names])
        state.update({name: whole[i].T for i, name in enumerate(names)})

    made = make("april_gan", small_backbone.info)
    file = authors_file(made, tmp_path / "a.pth", change)
    tensors, params = read_checkpoint(file, "april_gan", small_backbone.info)
    save_adapter(Adapter("a", "april_gan", "b", "c", params, tensors), tmp_path / "mine")
    assert_equal(read_adapter(tmp_path / "mine" / "adapter.safetensors").tensors, made.tensors)


@pytest.mark.parametrize("head", HEADS)
def test_saved_adapters_load_equal(head, small_backbone, tmp_path):
    made = make(head, small_backbone.info)
    save_adapter(made, tmp_path / "mine")
    found = load_adapter(tmp_path / "mine", head, small_backbone.info)
    assert_equal(found.tensors, made.tensors)
    assert (found.name, found.auxiliary, found.params) == ("mine", "nothing", made.params)
    assert digest_of(made) == found.sha256
    file = tmp_path / "mine" / "adapter.safetensors"
    with safe_open(file, framework="pt") as opened:
        words = opened.metadata()
    assert file.read_bytes() == save(made.tensors, words)  # as its library writes it


def test_a_safetensors_file_that_is_no_adapter(small_backbone, tmp_path):
    from safetensors.torch import save_file

    made = make("april_gan", small_backbone.info)
    plain = tmp_path / "plain.safetensors"
    save_file(made.tensors, plain)
    save_adapter(made, tmp_path / "mine")
    file = tmp_path / "mine" / "adapter.safetensors"
    content = file.read_bytes()
    cases = {"plain": plain.read_bytes(), "torn": content[:-50], "empty": b"", "text": b"hello"}
    for name, data in cases.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(AdapterError, match="not a vlad adapter"):
            read_adapter(path)
    pth = authors_file(made, tmp_path / "a.pth")
    with pytest.raises(AdapterError, match="vlad adapters import"):
        load_adapter(pth, "april_gan", small_backbone.info)
    with pytest.raises(AdapterError, match="of head april_gan"):
        load_adapter(file, "adaclip", small_backbone.info)
    with pytest.raises(AdapterError, match="Unknown adapter 'nowhere'"):
        load_adapter("nowhere", "adaclip", small_backbone.info)


@pytest.mark.parametrize(
    "params",
    [{"layers": [0]}, {"layers": "all"}, {"layers": [10**9]}, {"context": -1}, {}, {"layers": {}}],
)
def test_a_header_with_impossible_sizes(params, small_backbone, tmp_path):
    from safetensors.torch import save_file

    header = {"format": 1, "head": "anomalyclip", "backbone": "b", "auxiliary": "a"}
    header["params"] = params if "layers" in params or not params else {"layers": [1], **params}
    file = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"vlad": json.dumps(header)})
    with pytest.raises(AdapterError):
        load_adapter(file, "anomalyclip", small_backbone.info)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auxiliary": " "}, "header"),
        ({"auxiliary": "two\nlines"}, "header"),
        ({"params": {"layers": [1, 2, 3, 9]}}, "blocks 1, 2, 3, 9"),
        ({"params": {"layers": [1, 1, 1, 1]}}, "each usable once"),
    ],
)
def test_a_header_that_does_not_fit(change, words, small_backbone, tmp_path):
    from safetensors.torch import save_file

    made = make("april_gan", small_backbone.info)
    header = {"format": 1, "head": "april_gan", "backbone": "b", "auxiliary": "a"}
    header |= {"params": made.params, **change}
    file = tmp_path / "a.safetensors"
    save_file(made.tensors, file, {"vlad": json.dumps(header)})
    with pytest.raises(AdapterError, match=words):
        load_adapter(file, "april_gan", small_backbone.info)


def test_a_header_nested_without_end_whole_numbers_and_a_long_name(small_backbone, tmp_path):
    from safetensors.torch import save_file

    made = make("april_gan", small_backbone.info)
    header = {"format": 1, "head": "april_gan", "backbone": "b", "auxiliary": "a"}
    header = json.dumps(header | {"params": made.params})
    save_file(made.tensors, tmp_path / "nested.safetensors", {"vlad": "[" * 100_000})
    whole = {name: x.int() for name, x in made.tensors.items()}
    save_file(whole, tmp_path / "whole.safetensors", {"vlad": header})
    for name in ("nested.safetensors", "whole.safetensors", "x" * 5000):
        with pytest.raises(AdapterError):
            load_adapter(tmp_path / name, "april_gan", small_backbone.info)
