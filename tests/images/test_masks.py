"""Every way in which a mask may be stored reads as the same mask, or says that it cannot."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from vlad.datasets import load_dataset
from vlad.errors import ImageError
from vlad.evaluation.measures import Measures
from vlad.images import read_image, read_mask
from vlad.scoring.pipeline import Scored
from vlad.training.data import PLAIN, Labelled

MASK = np.zeros((64, 96), bool)
MASK[4:20, 60:90] = True
MASK[40:43, 11:50] = True
TURNED = {
    2: MASK[:, ::-1],
    3: MASK[::-1, ::-1],
    4: MASK[::-1],
    5: MASK.T,
    6: np.rot90(MASK),
    7: MASK[::-1, ::-1].T,
    8: np.rot90(MASK, -1),
}


def tiff(path, planes, order="<", photometric=2, sample_format=1, planar=2, tiled=False, more=()):
    """An uncompressed TIFF: (H, W) planes one after the other, or (with planar 1) only one."""
    height, width = planes[0].shape
    count = len(planes) if planar == 2 else 1
    parts = []
    for plane in planes:
        if tiled:  # of 32 × 32
            cells = plane.reshape(height // 32, 32, width // 32, 32).swapaxes(1, 2)
            parts += [cell for row in cells for cell in row]
        else:
            parts += [plane[: height // 2], plane[height // 2 :]]
    data = [p.astype(p.dtype.newbyteorder(order)).tobytes() for p in parts]
    offsets = [8 + sum(map(len, data[:i])) for i in range(len(data))]
    bits = planes[0].dtype.itemsize * 8
    tags = {256: [width], 257: [height], 258: [bits] * count, 259: [1], 262: [photometric]}
    tags |= {277: [count], 284: [planar], 339: [sample_format] * count, **dict(more)}
    sizes = list(map(len, data))
    tags |= {322: [32], 323: [32], 324: offsets, 325: sizes} if tiled else {}
    tags |= {} if tiled else {273: offsets, 278: [height // 2], 279: sizes}
    start = 8 + sum(sizes)
    extra, lines = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            at, extra = start + len(extra), extra + packed
            packed = struct.pack(order + "I", at)
        lines += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    begin = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start + len(extra))
    end = struct.pack(order + "H", len(tags)) + lines + bytes(4)
    path.write_bytes(begin + b"".join(data) + extra + end)


def png16(path, samples, colour_type):
    """(H, W, samples) of 16 bits."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    height, width = samples.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def turned(orientation, suffix, **options):
    def write(path):
        if suffix == ".avif":
            pytest.importorskip("PIL.AvifImagePlugin")
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.ascontiguousarray(TURNED[orientation] * np.uint8(255))
        Image.fromarray(pixels).save(path, exif=exif, **options)

    return suffix, write


def deep_png(colour_type, value, alpha=None):
    def write(path):
        colours = {2: 3, 4: 1, 6: 3}[colour_type]
        samples = [MASK * np.uint16(value)] * colours
        if alpha is not None:  # colour everywhere: the mask lies in the transparency
            samples = [np.full(MASK.shape, value, np.uint16)] * colours + [MASK * np.uint16(alpha)]
        elif colour_type != 2:
            samples += [np.full(MASK.shape, 65535, np.uint16)]
        png16(path, np.dstack(samples), colour_type)

    return ".png", write


def deep_tiff(value, planes=3, dtype=np.uint16, **options):
    return ".tif", lambda path: tiff(path, [MASK * dtype(value)] * planes, **options)


def lossy(suffix, scale=255, **options):
    def write(path):
        Image.fromarray(MASK * np.uint8(scale)).convert("RGB").save(path, **options)

    return suffix, write


def layers(suffix):
    """A folder with the two parts of the mask."""

    def write(path):
        path.mkdir()
        for name, rows in (("000", slice(0, 30)), ("001", slice(30, 64))):
            part = np.zeros_like(MASK)
            part[rows] = MASK[rows]
            Image.fromarray(part).save(path / f"{name}{suffix}")

    return "", write


WAYS = {
    **{f"PNG turned {n}": turned(n, ".png") for n in TURNED},
    **{f"TIFF turned {n}": turned(n, ".tif") for n in (3, 6)},
    **{f"JPEG turned {n}": turned(n, ".jpg", quality=90) for n in (3, 6)},
    "WebP turned 6": turned(6, ".webp", lossless=True),
    "AVIF turned 6": turned(6, ".avif"),
    **{f"16-bit PNG of type {t}, {v}": deep_png(t, v) for t in (2, 4, 6) for v in (1, 255, 65280)},
    "16-bit PNG, mask in the transparency": deep_png(6, 255, 65535),
    "16-bit grey PNG, mask in the transparency": deep_png(4, 255, 65535),
    **{f"16-bit TIFF {o} in planes, {v}": deep_tiff(v, order=o) for o in "<>" for v in (1, 65280)},
    "16-bit TIFF in tiled planes": deep_tiff(255, tiled=True),
    "16-bit TIFF, white is zero": (
        ".tif",
        lambda path: tiff(path, [~(MASK * np.uint16(9))], photometric=0, planar=1),
    ),
    "float TIFF": (".tif", lambda path: Image.fromarray(MASK * np.float32(0.2)).save(path)),
    **{f"JPEG of quality {q}": lossy(".jpg", quality=q) for q in (30, 75, 90)},
    "faint JPEG": lossy(".jpg", 80, quality=75),
    "lossy WebP": lossy(".webp", quality=50),
    "JPEG in TIFF": lossy(".tif", compression="jpeg", quality=75),
    "JPEG 2000": lossy(".jp2", irreversible=True, quality_mode="rates", quality_layers=[20]),
    "lossless WebP": lossy(".webp", 1, lossless=True),
    "folder of PNG": layers(".png"),
    "folder of TIFF": layers(".tif"),
}


def as_file(path):
    return read_mask(path)


def in_training(path):
    image = path.with_name("image.bmp")
    Image.new("RGB", MASK.shape[::-1]).save(image)
    (path.parent / "list.csv").write_text(f"path,label,mask\nimage.bmp,1,{path.name}\n")
    (sample,) = load_dataset("csv", path.parent / "list.csv").test(path.parent.name)
    return Labelled("a", [sample], ["0"], reading=PLAIN).item(0, 0).mask


def in_metrics(path):
    """Of an anomaly map that is the mask."""
    place = path.parent / "ground_truth/hole"
    place.mkdir(parents=True)
    path.rename(place / f"a{path.suffix}")
    (path.parent / "test/hole").mkdir(parents=True)
    (path.parent / "test/hole/a.png").touch()
    (sample,) = load_dataset("mvtec", path.parent).test(path.parent.name)
    measures = Measures([sample])
    measures.add([Scored(sample, MASK.shape[::-1], {"h": 1.0}, {"h": MASK.astype(np.float32)})])
    assert not measures.errors
    ((place, shape),) = measures.pixels.places["h"]
    return measures.pixels.read(place, shape)[1]


@pytest.mark.parametrize("reader", [as_file, in_training, in_metrics])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:Masks in lossy files")
def test_the_same_mask_however_it_is_stored(tmp_path, way, reader):
    suffix, write = WAYS[way]
    path = tmp_path / f"mask{suffix}"
    write(path)
    got = reader(path)
    assert got.shape == MASK.shape
    assert (got & MASK).sum() / (got | MASK).sum() >= (0.95 if "JPEG" in way else 0.999)


@pytest.mark.parametrize(
    "way",
    [
        (".tif", lambda path: tiff(path, [MASK.astype(np.int8) * -1], photometric=1,
                                   sample_format=2, planar=1)),
        (".tif", lambda path: Image.fromarray(np.where(MASK, np.nan, 0).astype("f4")).save(path)),
        (".tif", lambda path: tiff(path, [MASK * np.uint16(9)] * 4, photometric=5)),
    ],
    ids=["signed", "no number", "CMYK"],
)  # fmt: skip
def test_what_cannot_be_told_from_black_is_refused(tmp_path, way):
    path = tmp_path / f"mask{way[0]}"
    way[1](path)
    with pytest.raises(ImageError, match=r"mask\.tif"):
        read_mask(path)


def test_doubtful_masks_are_told(tmp_path):
    drawn = Image.fromarray(MASK)
    drawn.convert("L").save(tmp_path / "a.jpg", quality=75)
    with pytest.warns(UserWarning, match="lossy files"):
        read_mask(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as opened:
        opened.save(tmp_path / "once.png")
    with pytest.warns(UserWarning, match="more than 16 grey values"):
        read_mask(tmp_path / "once.png")
    labels = np.arange(16, dtype=np.uint8).repeat(4)[:, None].repeat(64, 1)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    drawn.save(tmp_path / "plain.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_mask(tmp_path / "labels.png"), labels > 0)
        read_mask(tmp_path / "plain.png")


RAMP = np.linspace(0, 255, 96).round().astype(np.uint16)[None].repeat(64, 0)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_planes_are_the_colours_they_hold(tmp_path, order, tiled, alpha):
    planes = [RAMP * 257, RAMP[:, ::-1] * 257, np.full_like(RAMP, 32768)]
    more = [np.full_like(RAMP, 65535)] if alpha else []
    extra = {338: [2]} if alpha else {}
    tiff(tmp_path / "a.tif", planes + more, order, tiled=tiled, more=extra)
    got = np.asarray(read_image(tmp_path / "a.tif"))
    assert np.array_equal(got, np.dstack([plane >> 8 for plane in planes]))


def test_signed_8_bit_keeps_the_order_of_its_greys_or_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    ramp = (RAMP // 2).astype(np.int8)
    tiff(path, [ramp], photometric=1, sample_format=2, planar=1)
    assert np.array_equal(np.asarray(read_image(path))[..., 0], ramp)
    tiff(path, [ramp - 64], photometric=1, sample_format=2, planar=1)
    with pytest.raises(ImageError, match="from -64 to 63"):
        read_image(path)


def test_a_tiff_that_states_its_largest_value(tmp_path):
    path, twelve = tmp_path / "a.tif", RAMP * 16
    tiff(path, [twelve], photometric=1, planar=1, more={281: [4095]})
    assert np.array_equal(np.asarray(read_image(path))[..., 0], RAMP)
    tiff(path, [twelve * 2], photometric=1, planar=1, more={281: [4095]})
    with pytest.raises(ImageError, match=r"states 12 bits \(MaxSampleValue\)"):
        read_image(path)
    # any other value is that of one image, and would stretch each in its own way
    tiff(path, [twelve], photometric=1, planar=1, more={281: [int(twelve.max())]})
    with pytest.warns(UserWarning, match="almost black"):
        assert np.array_equal(np.asarray(read_image(path))[..., 0], twelve >> 8)
