"""Geodesics of any metric and action: the Euler-Poincare equation, solved once."""

from geojax.geodesics.curvature import (
    ricci_curvature as ricci_curvature,
    sectional_curvature as sectional_curvature,
)
from geojax.geodesics.equation import (
    cometric as cometric,
    geodesic_field as geodesic_field,
    hamiltonian as hamiltonian,
    momentum_of as momentum_of,
)
from geojax.geodesics.images import ImageGeodesic as ImageGeodesic, shoot_image as shoot_image
from geojax.geodesics.logarithm import (
    Logarithm as Logarithm,
    distance as distance,
    log as log,
)
from geojax.geodesics.means import Mean as Mean, mean as mean
from geojax.geodesics.parallel import parallel_transport as parallel_transport
from geojax.geodesics.shooting import jacobi_field as jacobi_field, shoot as shoot
from geojax.geodesics.tangent_pca import TangentPCA as TangentPCA, tangent_pca as tangent_pca
