"""Small images in very many pieces: each is refused before the pieces cost anything."""

import io
import struct
import zlib

import pytest
from PIL import Image

from vlad.errors import ImageError
from vlad.images import read_image


def saved(kind):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind)
    return file.getvalue()


def refused(path, content, says):
    path.write_bytes(content)
    with pytest.raises(ImageError, match=says):
        read_image(path)


def is_read(path, content):
    path.write_bytes(content)
    assert read_image(path).size == (16, 16)


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe5\0\x02",  # Pillow keeps each in a list
        b"\xff\xfe\0\x02",
        b"\xff\xe1\0\x0cExif\0\0abcd",  # Pillow copies all that came before
        b"\xff\xf0\0\x0e" + b"\xff\xe5\0\x02" * 3,  # Pillow does not skip what is in it
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xff\xd9"])  # Pillow goes on behind an early end
def test_a_jpeg_of_many_segments(tmp_path, start, segment):
    data = saved("JPEG")
    many = data[:2] + start + segment * 100_000 + data[2:]
    refused(tmp_path / "a", many, "more than 1,000 segments")
    is_read(tmp_path / "b", data[:2] + b"\xff\xe5\0\x02" * 900 + data[2:])


def in_pieces(kind, count):
    """An image with so many pieces where Pillow looks for its pixels."""
    data = saved(kind)
    at, piece = {
        "PNG": (33, b"\0\0\0\0aaAa" + struct.pack(">I", zlib.crc32(b"aaAa"))),
        "JPEG": (2, b"\xff"),
        "GIF": (data.find(b",\0\0\0\0"), b"!\xfe\1a\0"),
        "PPM": (3, b"#\n"),
    }[kind]
    return data[:at] + piece * count + data[at:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "PPM"])
def test_a_file_in_very_many_pieces(tmp_path, kind):
    refused(tmp_path / "a", in_pieces(kind, 250_000), "too many pieces")
    is_read(tmp_path / "b", in_pieces(kind, 1000))


def test_pieces_behind_the_pixels_of_a_png(tmp_path):
    data, piece = saved("PNG"), b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    refused(tmp_path / "a", data[:-12] + piece * 150_000 + data[-12:], "too many pieces")
    is_read(tmp_path / "b", data[:-12] + piece * 1000 + data[-12:])


def test_a_run_length_bmp_of_runs_that_draw_nothing(tmp_path):
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078)
    head += struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    refused(tmp_path / "a", head + b"\0\0" * 250_000 + b"\x10\1" * 16, "too many pieces")
    is_read(tmp_path / "b", head + b"\0\0" * 1000 + b"\x10\1\0\0" * 16)


def tiff(*more):
    """A grey TIFF of 16×16 zeros; a line is tag, type, number of values, and value or place."""
    lines = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    lines += [(273, 4, 1, 500), (277, 3, 1, 1), (278, 4, 1, 16), (279, 4, 1, 256)]
    lines = sorted({line[0]: line for line in (*lines, *more)}.values())
    start = struct.pack("<H", len(lines))
    table = b"".join(struct.pack("<HHII", *line) for line in lines)
    return (b"II*\0\x08\0\0\0" + start + table).ljust(1000, b"\0")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_tiff_whose_tags_hold_millions_of_numbers(tmp_path):
    refused(tmp_path / "a", tiff((50838, 4, 600_000, 1000)) + bytes(2_400_000), "524,288 numbers")
    # the same in further tags, which the first ones point to
    start, numbers = tiff((34665, 4, 1, 1000)), bytes(8 * 600_000)
    further = start + struct.pack("<HHHII", 1, 42000, 5, 600_000, 0) + numbers
    refused(tmp_path / "b", further, "524,288 numbers")
    # bytes cost no more than they are, and tags may point in a circle or to nowhere
    is_read(tmp_path / "c", start + struct.pack("<HHHII", 1, 42000, 7, 600_000, 0) + numbers)
    is_read(tmp_path / "d", start + struct.pack("<HHHII", 1, 34665, 4, 1, 1000))
    is_read(tmp_path / "e", tiff((34665, 4, 1, 10**9)))


def test_a_tile_whose_size_is_a_number_of_64_bits(tmp_path):
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000}
    tags |= {324: 8, 325: 8}
    lines = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in tags.items())
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(tags))
    refused(tmp_path / "a", head + lines + bytes(999), "tiles is over the pixel limit")
