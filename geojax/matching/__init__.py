"""Matching: the deformation of least energy that carries a source to a target."""

from geojax.matching.atlas import Atlas as Atlas, atlas as atlas
from geojax.matching.images import (
    ImageAtlas as ImageAtlas,
    ImageMatch as ImageMatch,
    ImageRegression as ImageRegression,
    LabelPair as LabelPair,
    LandmarkPair as LandmarkPair,
    Metamorphosis as Metamorphosis,
    NeuralVelocity as NeuralVelocity,
    ShapePair as ShapePair,
    Shooting as Shooting,
    Stationary as Stationary,
    TimeDependent as TimeDependent,
    atlas_images as atlas_images,
    load_image_match as load_image_match,
    match_images as match_images,
    match_many_images as match_many_images,
    regress_images as regress_images,
)
from geojax.matching.many import match_many as match_many
from geojax.matching.match import match as match
from geojax.matching.problem import Problem as Problem
from geojax.matching.regression import Regression as Regression, regress as regress
from geojax.matching.result import Match as Match, load_match as load_match
from geojax.matching.transport import transport_match as transport_match
