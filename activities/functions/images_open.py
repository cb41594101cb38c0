"""Pictures from somebody else: told by their content, and refused before they take all memory. Part of `images`."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

from PIL import ExifTags, Image, ImageFont, ImageOps, UnidentifiedImageError

from portico.tool import AskAgain, File, ToolFailed

LARGEST = 50 * 1024 * 1024
MOST_PIXELS = 64_000_000
READ = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WRITTEN = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP"}
WRITTEN |= {"tif": "TIFF", "tiff": "TIFF", "pdf": "PDF"}
WITHOUT_ALPHA = ("JPEG", "BMP", "PDF")
BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error, OverflowError)

Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow warns from here and refuses at twice as many
Picture = Image.Image


def opened(file: File) -> Picture:
    """The first picture of the file, decoded. Raises `ToolFailed`."""
    if len(file.data) > LARGEST:
        raise ToolFailed(
            f"{file.name} has {len(file.data) // 1024**2} MiB; {LARGEST // 1024**2} MiB are read"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(file.data), formats=READ)
            if picture.width * picture.height > MOST_PIXELS:
                raise ToolFailed(_too_large(file))
            picture.load()
    except Image.DecompressionBombError:
        raise ToolFailed(_too_large(file)) from None
    except UnidentifiedImageError:
        raise AskAgain(f"{file.name} is no picture that can be read: {', '.join(READ)}") from None
    except BROKEN:
        raise ToolFailed(f"{file.name} is damaged") from None
    return picture


def upright(picture: Picture) -> Picture:
    """As its camera meant it to be seen, in colors that every format can hold, without anything else."""
    turned = ImageOps.exif_transpose(picture)
    if turned.mode not in ("RGB", "RGBA", "L"):
        turned = turned.convert("RGBA" if "A" in turned.mode or "transparency" in turned.info else "RGB")
    bare = Image.new(turned.mode, turned.size)
    bare.paste(turned)
    return bare


def encoded(picture: Picture, path: str, *, quality: int) -> bytes:
    """Raises `AskAgain` for an ending that is no format."""
    format = WRITTEN.get(path.rpartition(".")[2].lower())
    if format is None:
        raise AskAgain(f"the new picture's name ends in one of {', '.join(WRITTEN)}")
    if format in WITHOUT_ALPHA and picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    target = io.BytesIO()
    options: dict[str, Any] = {"quality": quality} if format in ("JPEG", "WEBP") else {}
    picture.save(target, format, **options)
    return target.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont:
    """A font with Latin, Greek and Cyrillic letters: matplotlib brings one."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def details(file: File) -> dict[str, Any]:
    picture = opened(file)
    exif = picture.getexif()
    names = [ExifTags.TAGS.get(tag, str(tag)) for tag in exif]
    other = [name for name in ("xmp", "icc_profile", "comment", "photoshop") if picture.info.get(name)]
    has_place = bool(exif.get_ifd(ExifTags.IFD.GPSInfo))
    metadata = sorted({*names, *other})
    told = f"{picture.format} with {picture.width} × {picture.height} pixels"
    hidden = "it tells the place where it was taken" if has_place else "it holds hidden metadata"
    return {
        "text": f"{told}; {hidden}" if metadata else told,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "frames": getattr(picture, "n_frames", 1),
        "metadata": metadata,
        "has_place": has_place,
    }


def _too_large(file: File) -> str:
    return f"{file.name} has more than {MOST_PIXELS // 1_000_000} million pixels"
