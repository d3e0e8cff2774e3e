"""Sections of a match and of trainings, from plain arrays."""

import dataclasses

import numpy as np
import pytest

from geojax.reports import (
    MatchView,
    Quantity,
    Table,
    TrainingView,
    match_section,
    render_page,
    training_section,
)
from geojax.reports.matching import _in_plane

pytest.importorskip("matplotlib")


def match_view(dimension: int, **options) -> MatchView:
    points = np.random.default_rng(0).normal(size=(20, dimension))
    return MatchView(
        source=points,
        target=points + 1,
        moved=points + 0.9,
        paths=np.stack([points + 0.9 * t for t in np.linspace(0, 1, 5)]),
        objective={"objective": [3.0, 2.0, 1.0], "energy": [0.1, 0.2, 0.3]},
        move=lambda x: x + 0.9,
        **options,
    )


def training_view(name: str) -> TrainingView:
    rng = np.random.default_rng(0)
    return TrainingView(
        name=name,
        history={"accuracy": [0.5, 0.9], "energy": [1.0, 2.0]},
        figures={"accuracy": 97.5, "energy": 2.0},
        states=rng.normal(size=(6, 30, 8)),
        labels=rng.integers(0, 10, 30),
        spread={"accuracy": 0.2},
    )


@pytest.fixture
def check(check_page):
    def check(section, *words: str) -> str:
        text = render_page("Title", "Lead", [section])
        check_page(text)
        for word in words:
            assert word in text
        return text

    return check


def test_match_of_surfaces_shows_them_from_two_sides(check):
    faces = np.stack([np.arange(k, k + 18) for k in range(3)], axis=1)
    view = match_view(3, cells=(faces, faces[:5]), determinants=np.linspace(0.5, 2, 20))
    section = match_section(view, title="A match")
    titles = [picture.title for picture in section.pictures]
    assert titles == ["Before", "After", "The way", "Change of volume", "Energy curve"]
    check(section, "source, moved", "distance moved", "as a power of 2")
    without = match_section(dataclasses.replace(view, determinants=None), title="A match")
    assert "Change of volume" not in [picture.title for picture in without.pictures]


def test_match_of_curves_draws_their_edges(check):
    edges = np.stack([np.arange(18), np.arange(1, 19)], axis=1)
    view = match_view(2, cells=(edges, edges[:5]))
    assert view.look(0)["edges"] is edges
    assert match_view(2).look(0) == {"line": False, "closed": False}
    section = match_section(view, title="A match")
    assert len(section.pictures) == 6
    check(section, "Change of area")


@pytest.mark.parametrize("outline", [True, False])
def test_match_in_the_plane_shows_its_grid(check, outline):
    view = match_view(2, outline=outline, unit="mm", source_name="left", target_name="right")
    section = match_section(view, title="Match", quantities=[Quantity(1.0, "mm", "residual")])
    check(section, "The deformation", "Change of area", "Energy curve", "left", "right", " mm")
    assert len(section.pictures) == 6


def test_match_in_space_shows_what_a_plane_can(check):
    section = match_section(match_view(3), title="Match")
    text = check(section, "Before", "After", "The way")
    assert "The deformation" not in text


def test_match_in_space_is_seen_along_its_thinnest_axis():
    """Source, target and paths are seen along one axis, even where each is thin in another."""
    flat = np.random.default_rng(0).normal(size=(20, 3)) * np.array([5.0, 0.1, 3.0])
    view = dataclasses.replace(
        match_view(3), source=flat, target=flat[:, [0, 2, 1]] * 0.5, moved=flat
    )
    seen = _in_plane(view)
    np.testing.assert_array_equal(seen.source, view.source[:, [0, 2]])
    np.testing.assert_array_equal(seen.target, view.target[:, [0, 2]])
    assert seen.paths.shape == (5, 20, 2)


def test_large_clouds_are_drawn_in_part(check):
    points = np.random.default_rng(0).normal(size=(9000, 2))
    view = dataclasses.replace(
        match_view(2), source=points, target=points, moved=points, paths=np.stack([points] * 3)
    )
    text = check(match_section(view, title="Match"), "Of up to 9,000 points 1,500 are drawn.")
    assert len(text) < 3_000_000


def test_trainings_share_a_plane_and_a_frame(check):
    section = training_section(
        [training_view("plain"), training_view("regularised")],
        title="Training",
        curves={"accuracy": "test accuracy (%)", "energy": "path energy", "absent": "nothing"},
        bars={"accuracy": "test accuracy (%)", "energy": "path energy"},
        table=Table(["figure", "plain", "regularised"], [["accuracy (%)", 97.5, 97.4]]),
    )
    check(section, "Paths, plain", "Paths, regularised", "Test accuracy", "Path energy")
    assert len(section.pictures) == 6  # the last paths twice, once enlarged
