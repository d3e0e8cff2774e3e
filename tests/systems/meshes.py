"""Meshes with known areas, and data that may lie beside the project."""

import os
from pathlib import Path

import numpy as np
import pytest


def icosphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the unit sphere: an icosahedron, its faces split in four `level` times.

    Oriented outwards.
    """
    g = (1 + 5**0.5) / 2
    vertices = [(s, t * g, 0.0) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    vertices = np.array([np.roll(v, k) for k in range(3) for v in vertices])
    sides = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    near = np.abs(sides - 2) < 1e-9
    faces = [
        (i, j, k)
        for i in range(12)
        for j in range(i)
        for k in range(j)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    faces = np.array([f if np.linalg.det(vertices[list(f)]) > 0 else f[::-1] for f in faces])
    for _ in range(level):
        pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1), axis=-1)
        edges, where = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
        middle = where.reshape(-1, 3) + len(vertices)
        vertices = np.concatenate([vertices, vertices[edges].mean(axis=1)])
        (a, b, c), (ab, bc, ca) = faces.T, middle.T
        split = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = np.concatenate([np.stack(f, axis=-1) for f in split])
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def outline(n: int, a: float, b: float, phase: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and edges of an ellipse."""
    t = 2 * np.pi * np.arange(n) / n + phase
    i = np.arange(n)
    return np.stack([a * np.cos(t), b * np.sin(t)], -1), np.stack([i, (i + 1) % n], -1)


def data(name: str) -> Path:
    """A file of real data: under GEOJAX_DATA, or beside the project; skips where there is none."""
    beside = Path(__file__).parents[2].parent / "shared/data"
    path = Path(os.environ.get("GEOJAX_DATA", beside)) / name
    if not path.exists():
        pytest.skip(f"no {name}; set GEOJAX_DATA to the folder that holds it")
    return path
