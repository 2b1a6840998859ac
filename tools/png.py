"""Makes screenshots small: at most 256 colours, which a page of text and flat shapes hardly has more of."""

import collections
import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_COLOURS = 256

Colour = tuple[int, int, int]


def shrink(path: Path) -> None:
    """Write a PNG of 8 bits a channel again, with a palette of its most frequent colours.

    :raises ValueError: if the file is another kind of picture.
    """
    width, height, pixels = _decoded(path.read_bytes())
    palette, places = _palette(collections.Counter(pixels))
    rows = bytearray()
    for start in range(0, width * height, width):
        rows.append(0)  # no filter, which suits palettes
        rows += bytes(places[pixel] for pixel in pixels[start : start + width])
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(bytes(colour) for colour in palette)
    chunks = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    path.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks))


def _palette(counts: collections.Counter[Colour]) -> tuple[list[Colour], dict[Colour, int]]:
    """Return few enough colours, and the place among them that stands for each colour.

    Colours that look alike are taken together, more and more, so that rare ones are kept.
    """
    for shift in range(8):
        groups: dict[Colour, list[Colour]] = collections.defaultdict(list)
        for colour, _ in counts.most_common():
            groups[colour[0] >> shift, colour[1] >> shift, colour[2] >> shift].append(colour)
        if len(groups) <= MOST_COLOURS:
            break
    places = {colour: place for place, group in enumerate(groups.values()) for colour in group}
    return [group[0] for group in groups.values()], places


def _decoded(data: bytes) -> tuple[int, int, list[Colour]]:
    """Return width, height and the pixels, row by row, without their transparency."""
    header, body, place = b"", b"", len(SIGNATURE)
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        header, body = (content, body) if kind == b"IHDR" else (header, body + content * (kind == b"IDAT"))
        place += length + 12
    if not data.startswith(SIGNATURE) or header[8] != 8 or header[9] not in (2, 6) or header[12]:
        raise ValueError("It is no PNG with three or four channels of 8 bits.")
    width, height = struct.unpack(">II", header[:8])
    step = 3 if header[9] == 2 else 4
    raw = zlib.decompress(body)
    line = width * step
    pixels: list[Colour] = []
    above = bytearray(line)
    for start in range(0, len(raw), line + 1):
        row = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + line]), above, step)
        pixels += zip(row[0::step], row[1::step], row[2::step], strict=True)
        above = row
    return width, height, pixels


def _unfiltered(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    """Return a row without its filter, of which PNG has five."""
    for place in range(len(row)) if kind else ():
        left = row[place - step] if place >= step else 0
        up = above[place]
        corner = above[place - step] if place >= step else 0
        guess = (0, left, up, (left + up) // 2, _nearest(left, up, corner))[kind]
        row[place] = (row[place] + guess) & 255
    return row


def _nearest(left: int, up: int, corner: int) -> int:
    """Return which of three neighbours is nearest to what they promise together (Paeth)."""
    promise = left + up - corner
    return min((left, up, corner), key=lambda one: abs(promise - one))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
