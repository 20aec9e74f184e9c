"""Files that are there in full or not at all, also where the disk becomes full."""

import numpy as np
import pytest
from PIL import Image

from vlad.errors import OutputError
from vlad.results.maps import write_map
from vlad.system.files import atomic_write

resource = pytest.importorskip("resource")  # not on Windows


def jpeg(path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    atomic_write(path, lambda file: Image.fromarray(pixels).save(file, "JPEG", quality=88))


def npy(path):
    write_map(path.with_suffix(".npy"), np.zeros((16, 16)), (16, 16), (0.0, 1.0))


@pytest.mark.parametrize("write", [jpeg, npy])
def test_a_disk_that_is_full_at_the_last_byte_is_an_error(tmp_path, write):
    write(tmp_path / "whole")
    (whole,) = tmp_path.iterdir()
    size = whole.stat().st_size
    whole.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # like a full disk, it lets a write through in part
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot write"):
            write(tmp_path / "whole")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
