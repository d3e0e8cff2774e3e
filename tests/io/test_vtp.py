"""VTP files: every way in which ParaView may write them, and damage."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from geojax._core.errors import GeojaxError, InputError
from geojax.io import read_points

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0 / 3.0]])


def put(folder, content: bytes, name: str = "a.vtp"):
    path = folder / name
    path.write_bytes(content)
    return path


def vtp(form: str, *, compressed: bool = False, order: str = "<", width: int = 4) -> bytes:
    """The same polygons in each of the ways in which a file may hold them, with colours."""
    arrays = {
        ("Points", "Points", "Float32"): POINTS.astype(order + "f4"),
        ("Polys", "connectivity", "Int64"): np.array([0, 2, 1, 0, 1, 3, 2]).astype(order + "i8"),
        ("Polys", "offsets", "Int32"): np.array([3, 7]).astype(order + "i4"),
        ("PointData", "red", "UInt8"): np.array([1, 2, 3, 4], "u1"),
    }

    def header(*numbers: int) -> bytes:
        return np.asarray(numbers).astype(f"{order}u{width}").tobytes()

    def packed(array: np.ndarray) -> tuple[bytes, bytes]:
        data = array.tobytes()
        if not compressed:
            return header(len(data)), data
        size = 16
        blocks = [data[k : k + size] for k in range(0, len(data), size)]
        parts = [zlib.compress(block) for block in blocks]
        last = len(blocks[-1]) % size
        return header(len(blocks), size, last, *map(len, parts)), b"".join(parts)

    tail, texts = b"", {}
    for (section, name, kind), array in arrays.items():
        head, data = packed(array)
        apart = base64.b64encode(head) + base64.b64encode(data)
        whole = apart if compressed else base64.b64encode(head + data)
        attributes = f'type="{kind}" Name="{name}" NumberOfComponents="1"'
        if form == "ascii":
            inner = f' format="ascii">\n{" ".join(map(str, array.reshape(-1)))}\n</DataArray>'
        elif form == "binary":
            inner = f' format="binary">\n  {whole.decode()}\n</DataArray>'
        else:
            inner = f' format="appended" offset="{len(tail)}" />'
            tail += whole if form == "base64" else head + data
        texts.setdefault(section, []).append(f"<DataArray {attributes}{inner}")
    body = "".join(f"<{name}>{''.join(lines)}</{name}>" for name, lines in texts.items())
    end = "BigEndian" if order == ">" else "LittleEndian"
    zipped = ' compressor="vtkZLibDataCompressor"' if compressed else ""
    text = (
        f'<?xml version="1.0"?>\n<VTKFile type="PolyData" byte_order="{end}" '
        f'header_type="UInt{8 * width}"{zipped}>\n<PolyData><Piece NumberOfPoints="4" '
        f'NumberOfPolys="2">{body}</Piece></PolyData>\n'
    ).encode()
    if tail:
        encoding = "raw" if form == "raw" else "base64"
        text += f'<AppendedData encoding="{encoding}">\n_'.encode() + tail + b"</AppendedData>\n"
    return text + b"</VTKFile>\n"


@pytest.mark.parametrize("form", ["ascii", "binary", "base64", "raw"])
@pytest.mark.parametrize(
    ("compressed", "order", "width"), [(False, "<", 4), (True, ">", 8), (True, "<", 4)]
)
def test_vtp_in_all_its_ways(tmp_path, form, compressed, order, width):
    data = vtp(form, compressed=compressed, order=order, width=width)
    file = read_points(put(tmp_path, data))
    np.testing.assert_array_equal(file.points, POINTS.astype(np.float32))
    assert file.faces.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2]]
    assert file.decoded.polygons == 1
    moved = file.decoded.encode(file.points * 2)
    again = read_points(put(tmp_path, moved))
    np.testing.assert_array_equal(again.points, 2 * file.points)
    np.testing.assert_array_equal(again.faces, file.faces)
    # All but the points is there, byte for byte.
    kept = data[data.index(b"<Polys>") :]
    assert moved.endswith(kept)


VTP = vtp("ascii")
BLOCK = zlib.compress(POINTS.astype("<f4").tobytes()[:16])
BOMB = zlib.compress(bytes(1 << 20))
DAMAGED = [
    # fault 9
    (VTP.replace(b"0 2 1 0 1 3 2", b"0 2 1 0 1 9 2"), r"face 1 refers to vertex 9 of 4"),
    (VTP[:200], r"is no XML that can be read"),
    (VTP.replace(b"?>", b"?><!DOCTYPE a>"), r"declares a document type or entities"),
    (VTP.replace(b"PolyData", b"ImageData"), r"holds 'ImageData', not PolyData"),
    (VTP.replace(b'Points="4"', b'Points="5"'), r"Points: Points has 12 of 15 numbers"),
    (VTP.replace(b'Points="4"', b'Points="9e9"'), r"NumberOfPoints is '9e9'"),
    (VTP.replace(b"Int64", b"Text"), r"connectivity has the number type 'Text'"),
    (VTP.replace(b"\n3 7\n", b"\n7 3\n"), r"Polys: its offsets do not rise"),
    (VTP.replace(b'"offsets"', b'"ends"'), r"has no array Polys: offsets"),
    (vtp("raw")[:-60], r"its appended data do not end; the file is cut off"),
    (vtp("binary").replace(b'Points="4"', b'Points="9"'), r"Points has 48 of 108 bytes"),
    (vtp("raw").replace(b'offset="0"', b'offset="99999"'), r"beyond the appended data"),
    (vtp("binary").replace(b"\n  ", b"\n  *"), r"is no base64 text"),
    (
        vtp("raw", compressed=True).replace(b"ZLib", b"LZ4"),
        r"is compressed by vtkLZ4DataCompressor; save it with zlib",
    ),
    (
        vtp("raw", compressed=True).replace(BLOCK, BOMB),
        r"has a block of another size than it says|is no zlib data",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_damage_is_named_in_one_line(tmp_path, content, message):
    path = put(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_points(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


ALL = [vtp(form, compressed=zipped) for form in ("binary", "base64", "raw") for zipped in (0, 1)]


@settings(max_examples=150)
@given(
    data=st.sampled_from(ALL),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_flipped_bytes_are_survived_or_named(tmp_path_factory, data, places):
    path = tmp_path_factory.getbasetemp() / "flipped.vtp"
    for place, value in places:
        at = int(place * (len(data) - 1))
        data = data[:at] + bytes([value]) + data[at + 1 :]
    path.write_bytes(data)
    message = file = None
    try:
        file = read_points(path)
    except GeojaxError as error:
        message = str(error)
    if file is None:
        assert message is not None
        assert message.startswith(str(path))
        return
    assert np.all(np.isfinite(file.points))
    assert file.faces is None or file.faces.max() < len(file.points)
