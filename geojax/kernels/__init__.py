"""Radial kernels and the matrix-free sums over them."""

from geojax.kernels.expansion import (
    Diracs as Diracs,
    KernelExpansion as KernelExpansion,
)
from geojax.kernels.forms import (
    Ring as Ring,
    form as form,
)
from geojax.kernels.radial import (
    AbstractRadialKernel as AbstractRadialKernel,
    Cauchy as Cauchy,
    Gaussian as Gaussian,
    Laplace as Laplace,
    Matern32 as Matern32,
    Matern52 as Matern52,
    Sum as Sum,
    by_name as by_name,
    describe as describe,
    from_description as from_description,
)
from geojax.kernels.sums import (
    hamiltonian_field as hamiltonian_field,
    kernel_sum as kernel_sum,
)
