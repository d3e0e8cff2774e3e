"""Shapes of control pulses: few coefficients for each control instead of one number a slice.

A basis is a matrix `[num_slices, M]`: column m is the pulse of the m-th coefficient, taken in the
middle of each slice.
"""

import numpy as np
from scipy.interpolate import BSpline

from geojax._core import checks
from geojax._core.errors import InputError


def fourier_pulses(num_slices: int, num_terms: int) -> np.ndarray:
    """Sines of 1 to M half waves: smooth pulses that begin and end at zero.

    Args:
        num_slices: K.
        num_terms: M, at most K.

    Returns:
        `[K, M]`.

    Raises:
        InputError: more terms than slices.

    Example:
        >>> fourier_pulses(3, 1).round(2).tolist()
        [[0.5], [1.0], [0.5]]
    """
    middles = _middles(num_slices, num_terms, 1)
    return np.sin(np.pi * np.outer(middles, np.arange(1, num_terms + 1)))


def spline_pulses(num_slices: int, num_coefficients: int) -> np.ndarray:
    """Clamped cubic B-splines with equal knots: smooth pulses of local coefficients.

    Args:
        num_slices: K.
        num_coefficients: M, from 4 to K.

    Returns:
        `[K, M]`; each row sums to one, so that a pulse is never larger than its coefficients.

    Raises:
        InputError: fewer than 4 coefficients or more than slices.

    Example:
        >>> spline_pulses(8, 5).sum(axis=1).round(12).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    Reference: `[deboor1978practical]`.
    """
    middles = _middles(num_slices, num_coefficients, 4)
    inner = np.linspace(0.0, 1.0, num_coefficients - 2)
    knots = np.concatenate([np.zeros(3), inner, np.ones(3)])
    return BSpline.design_matrix(middles, knots, 3).toarray()


def _middles(num_slices: int, count: int, least: int) -> np.ndarray:
    """Middles of equal slices of [0, 1]."""
    slices = checks.count(num_slices, "num_slices")
    if checks.count(count, "number of coefficients", least=least) > slices:
        raise InputError(
            f"A pulse of {slices} slices holds at most {slices} coefficients, but {count} are "
            "asked for; take more slices."
        )
    return (np.arange(slices) + 0.5) / slices
