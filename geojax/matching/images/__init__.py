"""Matching of images: models, resolutions, the affine start, and the deformation found."""

from geojax.matching.images.atlas import (
    ImageAtlas as ImageAtlas,
    atlas_images as atlas_images,
)
from geojax.matching.images.beside import (
    LabelPair as LabelPair,
    LandmarkPair as LandmarkPair,
    ShapePair as ShapePair,
)
from geojax.matching.images.many import match_many_images as match_many_images
from geojax.matching.images.match import match_images as match_images
from geojax.matching.images.models import (
    AbstractModel as AbstractModel,
    Metamorphosis as Metamorphosis,
    NeuralVelocity as NeuralVelocity,
    Shooting as Shooting,
    Stationary as Stationary,
    TimeDependent as TimeDependent,
)
from geojax.matching.images.problem import ImageProblem as ImageProblem
from geojax.matching.images.regression import (
    ImageRegression as ImageRegression,
    regress_images as regress_images,
)
from geojax.matching.images.result import (
    ImageMatch as ImageMatch,
    load_image_match as load_image_match,
)
