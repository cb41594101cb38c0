# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "matplotlib>=3.10",
#   "pillow>=12",
#   "pydantic>=2.12",
# ]
# ///
"""Pictures of the workspace: looked at, resized, cropped, converted, annotated, and charts from numbers.

What is written carries no metadata: no place, no camera, no date. Nothing that is there is replaced.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from activities.functions.charts import draw_chart
from activities.functions.files import add
from activities.functions.images_open import details, encoded, font, opened, upright
from portico.tool import AskAgain, File, ToolContext, tool

LARGEST_SIDE = 10_000

Path = Annotated[str, Field(min_length=3, max_length=1000)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Place = Annotated[int, Field(ge=0, le=LARGEST_SIDE)]
Color = Annotated[str, Field(pattern=r"^(#[0-9a-fA-F]{6}|[a-z]{3,20})$")]


class Note(BaseModel):
    """Words on a picture, with a frame around a part of it where width and height are given."""

    text: str = Field("", max_length=500)
    left: Place = 0
    top: Place = 0
    width: Place = 0
    height: Place = 0
    color: Color = "red"
    size: int = Field(24, ge=6, le=300)


class Series(BaseModel):
    """One row of numbers with its name."""

    name: str = Field("", max_length=100)
    values: list[float] = Field(min_length=1, max_length=10_000)


@tool(effects="read", risk="low", timeout_s=60, repeatable=True)
def images_info(file: File) -> dict[str, Any]:
    """Tell size, format and hidden metadata (place, camera, date) of a picture.

    Args:
        file: the picture in the workspace
    """
    return details(file)


@tool(effects="read", risk="low", timeout_s=60)
def images_resize(
    context: ToolContext, file: File, save_as: Path, width: Side | None = None, height: Side | None = None
) -> dict[str, Any]:
    """Make a picture larger or smaller. With one side the other follows; with both it fits into them undistorted.

    Args:
        file: the picture in the workspace
        save_as: path of the new picture; its ending says the format
        width: pixels
        height: pixels
    """
    if width is None and height is None:
        raise AskAgain("a width or a height is needed")
    picture = upright(opened(file))
    scale = min(
        width / picture.width if width else LARGEST_SIDE, height / picture.height if height else LARGEST_SIDE
    )
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if max(size) > LARGEST_SIDE:
        raise AskAgain(f"it would be {size[0]} × {size[1]}; {LARGEST_SIDE} is the longest side")
    return _kept(context, save_as, picture.resize(size))


@tool(effects="read", risk="low", timeout_s=60)
def images_crop(
    context: ToolContext, file: File, save_as: Path, left: Place, top: Place, width: Side, height: Side
) -> dict[str, Any]:
    """Cut a part out of a picture.

    Args:
        file: the picture in the workspace
        save_as: path of the new picture; its ending says the format
        left: pixels from the left edge
        top: pixels from the top edge
        width: pixels
        height: pixels
    """
    picture = upright(opened(file))
    if left + width > picture.width or top + height > picture.height:
        raise AskAgain(f"the picture has {picture.width} × {picture.height} pixels")
    return _kept(context, save_as, picture.crop((left, top, left + width, top + height)))


@tool(effects="read", risk="low", timeout_s=60)
def images_convert(
    context: ToolContext, file: File, save_as: Path, quality: Annotated[int, Field(ge=1, le=95)] = 85
) -> dict[str, Any]:
    """Convert a picture to png, jpg, webp, gif, bmp, tiff or pdf, without its hidden metadata.

    Args:
        file: the picture in the workspace
        save_as: path of the new picture; its ending says the format
        quality: of jpg and webp
    """
    return _kept(context, save_as, upright(opened(file)), quality=quality)


@tool(effects="read", risk="low", timeout_s=60)
def images_clean(context: ToolContext, file: File, save_as: Path) -> dict[str, Any]:
    """Remove the hidden metadata of a picture: place, camera, date, comments.

    Args:
        file: the picture in the workspace
        save_as: path of the new picture
    """
    return {
        **_kept(context, save_as, upright(opened(file)), quality=95),
        "removed": details(file)["metadata"],
    }


@tool(effects="read", risk="low", timeout_s=60)
def images_annotate(
    context: ToolContext,
    file: File,
    save_as: Path,
    notes: Annotated[list[Note], Field(min_length=1, max_length=100)],
) -> dict[str, Any]:
    """Write words on a picture and frame parts of it.

    Args:
        file: the picture in the workspace
        save_as: path of the new picture
        notes: words and frames with their places, in pixels from the left upper corner
    """
    from PIL import ImageDraw

    picture = upright(opened(file)).convert("RGBA")
    draw = ImageDraw.Draw(picture)
    for note in notes:
        _note(draw, note)
    return _kept(context, save_as, picture)


@tool(effects="read", risk="low", timeout_s=60)
def images_chart(
    context: ToolContext,
    save_as: Path,
    kind: Literal["line", "bar", "pie", "scatter", "histogram"],
    series: Annotated[list[Series], Field(min_length=1, max_length=20)],
    labels: Annotated[list[str], Field(max_length=10_000)] = [],  # noqa: B006 - pydantic copies it
    title: Annotated[str, Field(max_length=200)] = "",
    x_label: Annotated[str, Field(max_length=100)] = "",
    y_label: Annotated[str, Field(max_length=100)] = "",
) -> dict[str, Any]:
    """Draw a chart from numbers.

    Args:
        save_as: path of the chart, ending in .png, .svg or .pdf
        kind: what it looks like; scatter takes the first series as x
        series: the numbers
        labels: names of the values, along the axis or at the slices
        title: what stands above it
        x_label: what stands at the horizontal axis
        y_label: what stands at the vertical axis
    """
    data = draw_chart(
        save_as.rpartition(".")[2].lower(),
        kind,
        [(one.name, one.values) for one in series],
        labels,
        (title, x_label, y_label),
    )
    return _written(context, save_as, data)


def _note(draw: Any, note: Note) -> None:
    try:
        if note.width and note.height:
            box = (note.left, note.top, note.left + note.width, note.top + note.height)
            draw.rectangle(box, outline=note.color, width=max(2, note.size // 8))
        draw.text((note.left + 4, note.top + 4), note.text, fill=note.color, font=font(note.size))
    except ValueError:
        raise AskAgain(f"{note.color!r} is no color: red, #ff0000") from None


def _kept(context: ToolContext, path: str, picture: Any, *, quality: int = 85) -> dict[str, Any]:
    data = encoded(picture, path, quality=quality)
    return {**_written(context, path, data), "width": picture.width, "height": picture.height}


def _written(context: ToolContext, path: str, data: bytes) -> dict[str, Any]:
    context.raise_if_cancelled()
    written = add(context.workspace, path, data)
    context.artifact(path.rpartition("/")[2], data, written.media_type)
    return {
        "text": f"{written.path}, {written.size_bytes} bytes",
        "path": written.path,
        "size_bytes": len(data),
    }
