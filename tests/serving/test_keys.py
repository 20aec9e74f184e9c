"""Keys are random, kept as hashes, and told apart."""

import hashlib
import stat

import pytest

from vlad.errors import InputError, OutputError
from vlad.serving.keys import is_known, new_key, read_keys


def test_a_key_is_known_by_its_hash_alone(tmp_path):
    file = tmp_path / "keys.txt"
    keys = [new_key(file) for _ in range(3)]
    assert len(set(keys)) == 3 and min(map(len, keys)) >= 43  # 32 bytes
    text = file.read_text()
    assert not [key for key in keys if key in text]
    assert read_keys(file) == [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    digests = read_keys(file)
    assert all(is_known(key, digests) for key in keys)
    for wrong in ("", keys[0][:-1], keys[0] + "x", digests[0], "\udcff"):
        assert not is_known(wrong, digests)


def test_a_file_that_holds_none_is_one_sentence(tmp_path):
    for content in (b"", b"\n\n", b"secret\n", b"a" * 64 + b"\nb\n", b"\xff\xfe"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match="`new_key`"):
            read_keys(tmp_path / "bad")
    with pytest.raises(InputError, match="`new_key`"):
        read_keys(tmp_path / "missing")
    with pytest.raises(OutputError, match="cannot write"):
        new_key(tmp_path / "missing" / "keys.txt")


def test_notes_behind_a_hash_and_empty_lines_are_left_alone(tmp_path):
    file = tmp_path / "keys.txt"
    key = new_key(file)
    file.write_text(f"\n{file.read_text().strip()} camera 3, hall B\n")
    assert is_known(key, read_keys(file))
