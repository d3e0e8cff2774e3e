"""What stands in a `.vtp` file that geojax wrote."""

import base64
from pathlib import Path

import numpy as np


def data_of(path: Path, name: str) -> np.ndarray:
    """Numbers at the vertices in a file that was written."""
    text = path.read_text()
    part = text[text.index(f'Name="{name}"') :]
    numbers = base64.b64decode(part[part.index(">") + 1 : part.index("<")])[8:]
    return np.frombuffer(numbers, "<f4")
