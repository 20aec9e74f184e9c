"""Checkpoints that ask for far more time or memory than they have bytes: refused at once."""

import pickle
import re
import zipfile

import pytest
import torch
from safetensors.torch import load_file

from vlad.adapters.checkpoint import read_checkpoint
from vlad.backbones import load_backbone
from vlad.errors import AdapterError, BackboneError
from vlad.system.pickles import LONGEST, MOST


def archive(file, content):
    """A file as torch writes it, with this pickle."""
    writer = torch._C.PyTorchFileWriter(str(file))
    writer.write_record("data.pkl", content, len(content))
    writer.write_end_of_file()


def first_torch(file, content):
    """The same in the container of the first torch."""
    start = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {})
    parts = [pickle.dumps(part, 2) for part in start]
    file.write_bytes(b"".join([*parts, content, pickle.dumps([], 2)]))


def called(name, *arguments):
    """The pickle of a call; an argument in bytes is a pickle without its ends."""
    parts = [x if isinstance(x, bytes) else pickle.dumps(x, 2)[2:-1] for x in arguments]
    return b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(parts) + b"tR."


def nested(levels):
    """A dict whose key is a tuple of two times a tuple of two times ..."""
    pairs = (b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(levels))
    twice = b"".join(pair[:-1] for pair in pairs)
    return b"\x80\x02)q\0" + twice + b"}h%cNs." % levels


def storage(length):
    pid = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpu"
    return b"\x80\x02" + pid + pickle.dumps(length, 2)[2:-1] + b"tQ."


def changed_later():
    """A tuple of a list that is filled after the tuple was made."""
    return b"\x80\x02]q\0\x85q\1" + b"h\0Na."


TENSOR = b"ctorch\nTensor\n"
REBUILD = "torch._tensor _rebuild_from_type_v2"
LONGER = "it is far longer than a description of tensors"
LONG = (LONGEST + 1).to_bytes(4, "little") + b"a" * (LONGEST + 1)
NO_ENCODING = "an encoding that no tensor needs"
BOMBS = {
    "memory": (called("builtins bytearray", 10**12), "it asks for builtins.bytearray, which is no"),
    "Python 2": (called("__builtin__ eval", "1"), "it asks for builtins.eval, which is not a plai"),
    "hash": (nested(24), "its values contain each other too often"),
    "late": (changed_later(), "its values contain each other)"),
    "operations": (b"\x80\x02(" + b"N" * MOST + b"t.", LONGER),
    "text": (
        b"\x80\x02X" + (LONGEST + 1).to_bytes(4, "little") + b"a" * (LONGEST + 1) + b".",
        LONGER,
    ),
    "storage": (storage(10**12), "it announces more numbers than it holds"),
    "encoding": (called("_codecs encode", "a", "punycode"), NO_ENCODING),
    "errors": (called("_codecs encode", "a", "idna", "latin1"), NO_ENCODING),
    "call": (called(REBUILD, TENSOR, TENSOR, (10**12,), {}), "it asks for a call of torch.Tensor"),
    "tensor": (called("torch FloatTensor", 10**10), "it asks for a call of torch.FloatTensor"),
    "new": (b"\x80\x02" + TENSOR + b"K\x09\x85\x81.", "it asks for a call of torch.Tensor"),
    "bytes": (called("torch UntypedStorage", 10**10), "it asks for"),
    "sparse": (
        called("torch._utils _rebuild_sparse_tensor"),
        "it asks for torch._utils._rebuild_s",
    ),
}


@pytest.mark.parametrize("container", [archive, first_torch])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_is_read(
    bomb, container, small_backbone, tmp_path, monkeypatch
):
    content, words = BOMBS[bomb]
    container(tmp_path / "a.pth", content)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(AdapterError, match=re.escape(words)) as refused:
        read_checkpoint(tmp_path / "a.pth", "april_gan", small_backbone.info)
    assert "nothing in it was executed; get a new copy." in str(refused.value)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_backbone_is_read_as_carefully(bomb, tmp_path, monkeypatch):
    content, words = BOMBS[bomb]
    archive(tmp_path / "a.pt", content)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(BackboneError, match=re.escape(words)):
        load_backbone(str(tmp_path / "a.pt"))


def test_an_archive_of_torchscript_is_read_as_carefully(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as made:
        made.writestr("a/constants.pkl", b"")
        made.writestr("a/data.pkl", nested(60))
    with pytest.raises(BackboneError, match="its values contain each other too often"):
        load_backbone(str(tmp_path / "a.pt"))


def test_modules_that_are_each_held_twice_take_no_time(tmp_path):
    made = b"".join(b"c__torch__\nM\n)\x81q%c0" % i for i in range(31))
    held = b"".join(b"h%c}(X\1\0\0\0ah%cX\1\0\0\0bh%cub0" % (i, i + 1, i + 1) for i in range(30))
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", b"\x80\x02" + made + held + b"h\0.")
    with pytest.raises(BackboneError, match="or hold each other too often"):
        load_backbone(str(tmp_path / "a.pt"))


@pytest.mark.parametrize("content", [{"state_dict": [1]}, {"state_dict": None}, {0: torch.ones(2)}])
def test_another_file_of_torch_has_no_clip(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BackboneError, match="has no CLIP"):
        load_backbone(str(tmp_path / "a.pt"))


def test_a_bit_that_turned(small_file, tmp_path):
    state = load_file(small_file)
    torch.save(state, tmp_path / "a.pt")
    load_backbone(str(tmp_path / "a.pt"))
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[content.index(state["visual.proj"].numpy().tobytes())] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(BackboneError, match="a check sum differs"):
        load_backbone(str(tmp_path / "a.pt"))
