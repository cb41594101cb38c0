"""Pictures in the tools' own process: what comes out is opened again here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from tests.activities.functions.kit import Tools, shipped_tools

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Tools]:
    async with shipped_tools() as tools:
        yield tools


@pytest.fixture
def tools(running: Tools) -> Tools:
    running.files.clear()
    running.artifacts.clear()
    running.files["a.png"] = encoded(Image.new("RGB", (400, 200), "blue"), "PNG")
    return running


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()


def at(tools: Tools, path: str) -> Image.Image:
    return Image.open(io.BytesIO(tools.files[path]))


def with_exif() -> bytes:
    """Lies on its side, and tells where it was taken."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    return encoded(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({"width": 100}, (100, 50)),
        ({"height": 50}, (100, 50)),
        ({"width": 100, "height": 10}, (20, 10)),
        ({"width": 800}, (800, 400)),
    ],
)
async def test_resizes_without_distortion(
    tools: Tools, wanted: dict[str, int], size: tuple[int, int]
) -> None:
    await tools("images_resize", file="a.png", save_as="b.png", **wanted)
    assert at(tools, "b.png").size == size
    assert tools.artifacts["b.png"] == (tools.files["b.png"], "image/png")


async def test_crops(tools: Tools) -> None:
    await tools("images_crop", file="a.png", save_as="b.png", left=10, top=20, width=30, height=40)
    assert at(tools, "b.png").size == (30, 40)
    said = await tools.fails(
        "images_crop", file="a.png", save_as="c.png", left=390, top=0, width=30, height=40
    )
    assert "400 × 200" in said


@pytest.mark.parametrize("ending", ["jpg", "webp", "gif", "bmp", "tiff", "pdf"])
async def test_converts(tools: Tools, ending: str) -> None:
    tools.files["see-through.png"] = encoded(Image.new("RGBA", (10, 10), (0, 0, 0, 0)), "PNG")
    await tools("images_convert", file="see-through.png", save_as=f"b.{ending}")
    if ending == "pdf":
        assert tools.files["b.pdf"].startswith(b"%PDF")
    else:
        assert at(tools, f"b.{ending}").size == (10, 10)
    if ending == "jpg":
        assert at(tools, "b.jpg").getpixel((5, 5)) == (255, 255, 255)


async def test_what_is_written_tells_nothing_of_where_it_was_taken(tools: Tools) -> None:
    tools.files["photo.jpg"] = with_exif()
    info = await tools("images_info", file="photo.jpg")
    assert info["has_place"]
    assert "Make" in info["metadata"]
    done = await tools("images_clean", file="photo.jpg", save_as="clean.jpg")
    assert "GPSInfo" in done["removed"]
    await tools("images_resize", file="photo.jpg", save_as="small.jpg", width=10)
    for path in ("clean.jpg", "small.jpg"):
        assert not at(tools, path).getexif()
        assert b"Camera" not in tools.files[path]
    assert at(tools, "clean.jpg").size == (20, 40)  # upright, as it is to be seen


async def test_annotates(tools: Tools) -> None:
    notes = [
        {"text": "Grüße, мир", "left": 10, "top": 10, "color": "#ffffff"},
        {"left": 100, "top": 50, "width": 50, "height": 50},
    ]
    await tools("images_annotate", file="a.png", save_as="b.png", notes=notes)
    picture = at(tools, "b.png").convert("RGB")
    assert picture.getpixel((100, 70)) == (255, 0, 0)
    assert (255, 255, 255) in {picture.getpixel((x, y)) for x in range(10, 120) for y in range(10, 50)}
    assert "no color" in await tools.fails(
        "images_annotate", file="a.png", save_as="c.png", notes=[{"text": "x", "color": "nocolor"}]
    )


@pytest.mark.parametrize("kind", ["line", "bar", "pie", "scatter", "histogram"])
async def test_draws_charts(tools: Tools, kind: str) -> None:
    rows = [{"name": "a $x", "values": [1, 2, 3]}, {"name": "b", "values": [3, 1, 2]}]
    series = rows[:1] if kind == "pie" else rows
    labels = ["x", "y", "z"] if kind in ("line", "bar", "pie") else []
    chart = {"kind": kind, "series": series, "labels": labels, "title": "Cost in $ and $"}
    await tools("images_chart", save_as="c.png", **chart)
    assert at(tools, "c.png").size[0] > 1000
    assert len(at(tools, "c.png").convert("RGB").getcolors(1 << 20) or ()) > 5


async def test_a_chart_that_cannot_be_says_why(tools: Tools) -> None:
    one, two = {"values": [1, 2]}, {"values": [1]}
    cases = [
        ({"kind": "bar", "series": [one, two]}, "as many values"),
        ({"kind": "scatter", "series": [one]}, "two series"),
        ({"kind": "pie", "series": [{"values": [-1]}]}, "above 0"),
        ({"kind": "line", "series": [one], "labels": ["a"]}, "1 labels for 2 values"),
    ]
    for chart, words in cases:
        assert words in await tools.fails("images_chart", save_as="c.png", **chart)
    assert "ends in one of" in await tools.fails("images_chart", save_as="c.exe", kind="line", series=[one])
    await tools("images_chart", save_as="c.svg", kind="line", series=[{"name": "<script>", "values": [1, 2]}])
    assert b"<script>" not in tools.files["c.svg"]


def png(width: int, height: int) -> bytes:
    """A head that claims that size, and next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(30_000, 30_000), "million pixels"),
        (png(9_000, 9_000), "million pixels"),
        (png(2_000, 2_000)[:60], "damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        (b"", "no picture"),
        (bytes(51 * 1024 * 1024), "MiB"),
    ],
)
async def test_opens_nothing_that_takes_the_machine_down(tools: Tools, data: bytes, words: str) -> None:
    tools.files["bad.png"] = data
    for name, more in (("images_info", {}), ("images_convert", {"save_as": "b.png"})):
        assert words in await tools.fails(name, file="bad.png", **more)


async def test_replaces_nothing_and_writes_only_pictures(tools: Tools) -> None:
    assert "already" in await tools.fails("images_resize", file="a.png", save_as="a.png", width=9)
    assert "ends in one of" in await tools.fails("images_convert", file="a.png", save_as="a.exe")
    assert "needed" in await tools.fails("images_resize", file="a.png", save_as="b.png")
    assert "no such file" in await tools.fails("images_info", file="gone.png")
