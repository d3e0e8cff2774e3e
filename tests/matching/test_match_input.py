"""Bad input of match: refused before anything is compiled, doubtful input with the numbers."""

import sys
import warnings

import diffrax
import jax
import numpy as np
import pytest
from systems.numerics import compilations

from geojax._core.errors import InputError
from geojax.kernels import Gaussian, Laplace
from geojax.matching import match
from geojax.matching.solvers import LBFGS
from geojax.shapes import MMD, Landmarks

# optax promotes inside
pytestmark = pytest.mark.lenient

RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.normal(size=(8, 2)), RNG.normal(size=(8, 2))
ELSEWHERE = SOURCE + np.array([30.0, 0.0])


def broken(row, column, value):
    points = SOURCE.copy()
    points[row, column] = value
    return points


BAD = {
    "nan": (dict(source=broken(3, 1, np.nan)), r"source must be finite, but entry \[3, 1\] is nan"),
    "infinity": (dict(target=broken(0, 0, np.inf)), r"target must be finite, but entry \[0, 0\]"),
    "counts": (dict(target=TARGET[:6]), "8 and 6 points; for unlabelled points use the MMD"),
    "named": (dict(target=TARGET[:6], fidelity="landmarks"), "8 and 6 points"),
    "transposed": (dict(source=SOURCE.T, target=TARGET.T), r"transpose it to \[8, 2\]"),
    "dimensions": (dict(target=np.zeros((8, 3))), "source is 2-D and target is 3-D"),
    "empty": (dict(source=np.zeros((0, 2))), "source must hold at least 1 point"),
    "vector": (dict(source=SOURCE[0]), "one row per point"),
    "text": (dict(source=SOURCE.astype(str)), "source must hold numbers"),
    "ragged": (dict(source=[[0.0, 1.0], [2.0]]), "rows have different lengths"),
    "complex": (dict(target=TARGET + 0j), "target must be real"),
    "duplicates": (
        dict(source=np.concatenate([SOURCE[:7], SOURCE[2:3]])),
        "points 2 and 7 coincide at .*1 duplicates in all.*; merge them first",
    ),
    "weight": (dict(weight=-1.0), "weight must be positive and finite, but is -1.0"),
    "tolerance": (dict(tolerance=0.0), "tolerance must be positive"),
    "steps": (dict(num_steps=0), "num_steps must be an integer of at least 1, but is 0"),
    "iterations": (dict(max_iterations=0), "max_iterations must be an integer of at least 1"),
    "rounds": (dict(fidelity="mmd", multiscale=-1), "multiscale must be an integer of at least 0"),
    "controls": (dict(control_points=5.0), "must be points or their number, .* but is 5.0"),
    "more controls": (dict(control_points=9), "at most the 8 source points, but is 9"),
    "initial": (dict(initial=np.zeros((3, 2))), r"shape \[8, 2\], but has shape \[3, 2\]"),
    "initial nan": (dict(initial=broken(1, 1, np.nan)), "initial must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_anything_is_compiled(case):
    changes, message = BAD[case]
    arguments = {"source": SOURCE, "target": TARGET, **changes}
    with compilations() as count, pytest.raises(InputError, match=message) as caught:
        match(**arguments)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    # putting an array of a new shape on the device may compile a copy
    assert count.value <= 2


def test_other_refusals():
    with pytest.raises(InputError, match="scale must be positive"):
        match(SOURCE, TARGET, metric=Gaussian(0.0))
    with pytest.raises(InputError, match="memory must be an integer"):
        LBFGS(memory=0)
    with pytest.raises(InputError, match="metric must be given under `jit`"):
        jax.jit(lambda s: match(s, TARGET).energy)(SOURCE)
    with pytest.raises(InputError, match="must be an object such as `MMD"):
        jax.jit(lambda s: match(s, TARGET, metric=Gaussian(1.0), fidelity="mmd").energy)(SOURCE)


def close_pair(gap, dtype):
    points = SOURCE.copy()
    points[5] = points[4] + [gap, 0.0]
    return points.astype(dtype)


@pytest.mark.slow
def test_landmarks_too_close_for_single_precision():
    with pytest.raises(InputError, match=r"source has nearly.* 4 and 5 are .*float64"):
        match(close_pair(1e-4, np.float32), TARGET.astype(np.float32), metric=Gaussian(1.0))
    # a cloud of the same points is no problem: they may move together
    options = dict(metric=Gaussian(1.0), fidelity=MMD(0.5), quality=False, tolerance=1e-2)
    clouds = [
        match(close_pair(1e-4, d), TARGET.astype(d), **options) for d in (np.float32, np.float64)
    ]
    np.testing.assert_allclose(clouds[0].objective, clouds[1].objective, rtol=1e-2)


WARNED = {
    "close": (
        dict(source=close_pair(1e-7, np.float64), metric=Gaussian(1.0)),
        r"nearly coinciding points: 4 and 5 are 1e-07 apart.*condition number .* \d\.\de\+1[45]",
    ),
    "rough": (dict(metric=Laplace(1.0)), r"kernel Laplace is not C\^2 .*may collide .*Matern32"),
    "units": (dict(target=1000.0 * TARGET), "The source measures .* and the target .* across"),
    "rigid": (dict(metric=Gaussian(100.0)), "more than 10 times the source's size .* near"),
    "alone": (dict(metric=Gaussian(1e-3)), "less than a tenth of the smallest spacing .* near"),
    "integers": (dict(source=np.arange(16).reshape(8, 2)), "source has dtype int64 and is cast"),
    "out of sight": (
        dict(target=ELSEWHERE, fidelity=MMD(0.5), multiscale=1),
        r"away from the source, but the fidelity's scale 0\.5 reaches 1 .* Raise multiscale to",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_doubtful_input_is_warned_of(case, monkeypatch):
    changes, message = WARNED[case]
    arguments = {"source": SOURCE, "target": TARGET, **changes}

    class Enough(Exception):
        pass

    def stop(*_):
        raise Enough

    # what follows the checks is not what is tested here
    monkeypatch.setattr(sys.modules["geojax.matching.match"], "minimise", stop)
    with pytest.warns(UserWarning, match=message), pytest.raises(Enough):
        match(**arguments)


def test_good_input_warns_of_nothing(monkeypatch):
    def stop(search, *_):
        raise AssertionError(search.rounds)

    monkeypatch.setattr(sys.modules["geojax.matching.match"], "minimise", stop)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source, fidelity, rounds in (
            (SOURCE, Landmarks(), 0),
            # a cloud that is far away is sought at coarser scales
            (SOURCE, MMD(0.5), 2),
            (ELSEWHERE, MMD(0.5), 5),
            # neighbours in a dense cloud may be as close as they like
            (np.linspace([0.0, 0.0], [1.0, 1.0], 5000).astype(np.float32), MMD(1.0), 2),
        ):
            with pytest.raises(AssertionError, match=f"^{rounds}$"):
                match(source, TARGET, fidelity=fidelity, solver=diffrax.Heun())


def test_the_wider_dtype_is_taken(monkeypatch):
    kinds = []

    def stop(minimiser, problem, *_):
        kinds.append((problem.source.dtype, problem.target.dtype, problem.weight.dtype))
        raise InterruptedError

    monkeypatch.setattr(sys.modules["geojax.matching.match"], "minimise", stop)
    for left, right, wide in (
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float16, np.float16, np.float32),
    ):
        with pytest.raises(InterruptedError):
            match(SOURCE.astype(left), TARGET.astype(right))
        assert set(kinds.pop()) == {np.dtype(wide)}
