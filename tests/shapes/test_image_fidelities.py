"""How far apart images are: closed forms, exact derivatives, and what has no influence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.numerics import central_difference, relative_error

from geojax._core.errors import InputError
from geojax.shapes import LNCC, NMI, SSD, SoftDice
from geojax.shapes.image_fidelities import _BLOCK

GRIDS = {"plane": (9, 7), "space": (6, 5, 7)}
FIDELITIES = {"ssd": SSD(0.7), "lncc": LNCC(2.0), "nmi": NMI(7), "dice": SoftDice(3)}
STEPS = jnp.array([1.0, 1.6, 0.8])


def problem(fidelity, grid, seed=0):
    """Two images that have to do with each other, weights and the spacing."""
    rng = np.random.default_rng(seed)
    shape = grid if fidelity.channels is None else (fidelity.channels, *grid)
    image = rng.uniform(size=shape)
    target = 0.6 * image + 0.4 * rng.uniform(size=shape)
    weights = rng.uniform(0.2, 1.0, size=grid)
    return *(jnp.asarray(x) for x in (image, target, weights)), STEPS[: len(grid)]


def direction_for(array):
    """A direction that leaves the least and the largest value, so that ranges of bins stay."""
    draws = np.random.default_rng(9).normal(size=array.shape)
    flat = draws.reshape(-1)
    flat[[int(jnp.argmin(array)), int(jnp.argmax(array))]] = 0.0
    return jnp.asarray(draws)


@pytest.mark.parametrize("name", FIDELITIES)
class TestAll:
    @pytest.mark.parametrize("grid", GRIDS)
    def test_reverse_and_forward(self, name, grid):
        fidelity = FIDELITIES[name]
        *arrays, spacing = problem(fidelity, GRIDS[grid])

        @jax.jit
        def value(*arrays):
            return fidelity(*arrays, spacing)

        gradients = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*arrays)
        for k, array in enumerate(arrays):
            direction = direction_for(array)

            def along(x, k=k):
                return value(*arrays[:k], x, *arrays[k + 1 :])

            numeric = central_difference(along, array, direction, 1e-5)
            slope = float(jnp.sum(gradients[k] * direction))
            assert abs(slope) > 1e-4
            np.testing.assert_allclose(slope, numeric, rtol=1e-6)
            assert relative_error(-slope, numeric) > 1  # the sign counts
            forward = jax.jvp(along, (array,), (direction,))[1]
            np.testing.assert_allclose(forward, slope, rtol=1e-10)

    def test_a_step_against_the_gradient_brings_images_closer(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        value, gradient = jax.value_and_grad(fidelity)(image, target, weights, spacing)
        step = 1e-3 * gradient / jnp.linalg.norm(gradient.reshape(-1))
        assert fidelity(image - step, target, weights, spacing) < value
        assert fidelity(image + step, target, weights, spacing) > value

    def test_voxels_without_weight_have_no_influence(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        outside = jnp.asarray(np.random.default_rng(1).uniform(size=weights.shape) < 0.4)
        weights = jnp.where(outside, 0.0, weights)
        hidden = jnp.broadcast_to(outside, image.shape)
        value = fidelity(image, target, weights, spacing)
        other = jnp.where(hidden, 1e3 * image - 7.0, image)
        assert fidelity(other, target, weights, spacing) == value
        assert fidelity(image, jnp.where(hidden, -5.0, target), weights, spacing) == value
        assert fidelity(jnp.where(hidden, image, 0.5 * image**2), target, weights, spacing) != value
        gradients = jax.grad(fidelity, argnums=(0, 1))(image, target, weights, spacing)
        for gradient in gradients:
            assert np.all(np.asarray(gradient)[np.asarray(hidden)] == 0)
            assert np.any(np.asarray(gradient)[np.asarray(~hidden)] != 0)

    def test_no_weight_at_all(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        found = jax.value_and_grad(fidelity, argnums=(0, 1, 2))(image, target, 0 * weights, spacing)
        assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(found))

    def test_the_size_of_weights_does_not_count(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        value = fidelity(image, target, weights, spacing)
        for factor in (1e-20, 1e20):
            np.testing.assert_allclose(
                fidelity(image, target, factor * weights, spacing), value, rtol=1e-12
            )

    def test_vmap_is_a_loop(self, name):
        fidelity = FIDELITIES[name]
        problems = [problem(fidelity, GRIDS["space"], seed) for seed in range(3)]
        together = [jnp.stack(arrays) for arrays in zip(*problems, strict=True)]
        np.testing.assert_allclose(
            jax.vmap(fidelity)(*together), [fidelity(*p) for p in problems], rtol=1e-12
        )

    def test_float32(self, name):
        fidelity = FIDELITIES[name]
        arrays = problem(fidelity, GRIDS["space"])
        single = [x.astype(jnp.float32) for x in arrays]
        value, gradient = jax.value_and_grad(fidelity)(*single)
        assert value.dtype == gradient.dtype == jnp.float32
        truth, slope = jax.value_and_grad(fidelity)(*arrays)
        np.testing.assert_allclose(value, truth, rtol=2e-5)
        assert relative_error(gradient, slope) < 1e-4
        # the dtype is that of the image, whatever the others have
        assert fidelity(single[0], *arrays[1:]).dtype == jnp.float32

    def test_equal_images_are_closest(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        equal = fidelity(image, image, weights, spacing)
        # the floor of LNCC and the windows of NMI keep them off zero
        assert equal < {"ssd": 1e-30, "lncc": 0.05, "nmi": 0.9, "dice": 1e-30}[name]
        for part in (0.02, 0.3, 1.0):
            mixed = (1 - part) * image + part * target
            assert fidelity(mixed, image, weights, spacing) > equal

    def test_refusals(self, name):
        fidelity = FIDELITIES[name]
        image, target, weights, spacing = problem(fidelity, GRIDS["space"])
        with pytest.raises(InputError, match="image must have shape"):
            fidelity.check(image[..., :-1], target, weights, spacing)
        with pytest.raises(InputError, match="target must have shape"):
            fidelity.check(image, target[None], weights, spacing)
        with pytest.raises(InputError, match="weights must be at least 0"):
            fidelity(image, target, weights.at[0].set(-1.0), spacing)
        with pytest.raises(InputError, match="weights must have shape"):
            fidelity.check(image, target, weights[..., :0], spacing)
        with pytest.raises(InputError, match="spacing must be positive"):
            fidelity(image, target, weights, 0 * spacing)
        with pytest.raises(InputError, match="spacing must hold one number for each"):
            fidelity.check(image, target, weights, spacing[:1])
        with pytest.raises(InputError, match="image must hold floating-point"):
            fidelity.check(image.astype(int), target, weights, spacing)


@pytest.mark.parametrize(
    "build",
    [
        lambda: SSD(0.0),
        lambda: SSD(np.ones(2)),
        lambda: LNCC(-1.0),
        lambda: LNCC(np.inf),
        lambda: LNCC(1.0, floor=0.0),
        lambda: NMI(4),
        lambda: SoftDice(0),
    ],
)
def test_arguments_are_checked(build):
    with pytest.raises(InputError, match="Argument"):
        build()


def test_ssd_of_constants():
    ones, spacing = jnp.ones((4, 5)), jnp.ones(2)
    np.testing.assert_allclose(SSD(2.0)(3 * ones, 7 * ones, ones, spacing), 0.5 * 4**2 / 2**2)
    # one voxel of four differs by three
    image = jnp.array([[0.0, 3.0], [0.0, 0.0]])
    weights = jnp.array([[1.0, 2.0], [1.0, 0.0]])
    np.testing.assert_allclose(SSD()(image, 0 * image, weights, spacing), 0.5 * 9 * 2 / 4)


def slow_lncc(a, b, w, spacing, window, floor):
    """The same, voxel by voxel."""
    sizes = []
    for x in (a, b):
        mean = np.sum(w * x) / np.sum(w)
        sizes.append(np.sum(w * (x - mean) ** 2) / np.sum(w))
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in a.shape), indexing="ij"), -1)
    total = 0.0
    for place in np.ndindex(a.shape):
        far = np.sum(((indices - np.array(place)) * spacing) ** 2, -1)
        share = w * np.exp(-0.5 * far / window**2)
        share = share / np.sum(share)
        da, db = a - np.sum(share * a), b - np.sum(share * b)
        u, v, c = (np.sum(share * x) for x in (da * da, db * db, da * db))
        total += w[place] * c**2 / ((u + floor * sizes[0]) * (v + floor * sizes[1]))
    return 1 - total / np.sum(w)


class TestLNCC:
    @pytest.mark.parametrize("grid", GRIDS)
    @pytest.mark.parametrize("window", [0.7, 3.0])
    def test_is_the_slow_loop(self, grid, window):
        fidelity = LNCC(window, floor=0.02)
        image, target, weights, spacing = problem(fidelity, GRIDS[grid])
        weights = jnp.where(weights < 0.4, 0.0, weights)
        arrays = [np.asarray(x) for x in (image, target, weights, spacing)]
        truth = slow_lncc(*arrays, window, 0.02)
        np.testing.assert_allclose(fidelity(image, target, weights, spacing), truth, rtol=1e-10)
        turned = slow_lncc(*arrays[:3], arrays[3][::-1], window, 0.02)
        assert abs(turned - truth) > 1e-4  # the spacing of each axis counts

    def test_affine_intensities(self):
        image, target, weights, spacing = problem(LNCC(2.0), GRIDS["space"])
        fidelity = LNCC(2.0, floor=1e-9)
        for changed in (image, 3e4 * image - 1e3, 5 - 1e-7 * image):
            assert 0 <= fidelity(changed, image, weights, spacing) < 1e-7
            np.testing.assert_allclose(
                fidelity(changed, target, weights, spacing),
                fidelity(image, target, weights, spacing),
                rtol=1e-8,
            )
        assert fidelity(image, target, weights, spacing) > 0.05

    def test_the_floor_of_equal_images(self):
        """Far windows make every variance the global one, so equal images leave 1 - 1/(1 + e)^2."""
        image, _, weights, spacing = problem(LNCC(1.0), GRIDS["plane"])
        value = LNCC(1e5, floor=0.1)(image, image, weights, spacing)
        np.testing.assert_allclose(value, 1 - 1 / 1.1**2, rtol=1e-8)

    def test_far_windows_give_the_global_correlation(self):
        image, target, weights, spacing = problem(LNCC(1.0), GRIDS["space"])
        a, b, w = (np.asarray(x).ravel() for x in (image, target, weights))
        covariance = np.cov(a, b, aweights=w)
        correlation = covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1])
        value = LNCC(1e5, floor=1e-12)(image, target, weights, spacing)
        np.testing.assert_allclose(value, 1 - correlation, rtol=1e-7)

    def test_sees_a_shift_and_local_changes_of_contrast_hardly(self):
        # waves of length 4 and 5 under a light that comes from one side
        x, y = jnp.meshgrid(jnp.arange(24.0), jnp.arange(20.0), indexing="ij")
        image = jnp.sin(2 * jnp.pi * x / 4 + 0.3) + jnp.cos(2 * jnp.pi * y / 5)
        ones, spacing, fidelity = jnp.ones((24, 20)), jnp.ones(2), LNCC(3.0)
        lit = (1 + 0.01 * x) * image + 0.02 * y
        assert fidelity(lit, image, ones, spacing) < 0.02
        assert SSD()(2 * image, image, ones, spacing) > 0.3
        assert fidelity(2 * image, image, ones, spacing) < 0.01
        assert fidelity(jnp.roll(image, 1, axis=0), image, ones, spacing) > 0.3
        assert fidelity(jnp.roll(image, 5, axis=1), image, ones, spacing) < 0.01  # a whole wave

    def test_flat_images_are_far_and_have_no_gradient(self):
        image, _, weights, spacing = problem(LNCC(2.0), GRIDS["space"])
        for dtype in (jnp.float32, jnp.float64):
            flat = jnp.full_like(image, 0.1, dtype=dtype)
            arrays = [x.astype(dtype) for x in (image, weights, spacing)]
            value, gradient = jax.value_and_grad(LNCC(2.0))(flat, *arrays)
            assert value == 1
            assert np.all(np.asarray(gradient) == 0)

    def test_far_from_zero_in_float32(self):
        image, target, weights, spacing = problem(LNCC(2.0), GRIDS["space"])
        truth = LNCC(2.0)(image, target, weights, spacing)
        single = [x.astype(jnp.float32) for x in (image + 300, target - 500, weights, spacing)]
        np.testing.assert_allclose(LNCC(2.0)(*single), truth, rtol=2e-3)

    def test_masks_far_apart(self):
        """Windows that see nothing give finite gradients, in float32 too."""
        image, target, _, _ = problem(LNCC(1.0), (40, 8))
        weights = jnp.zeros((40, 8)).at[:3].set(1.0)
        single = [x.astype(jnp.float32) for x in (image, target, weights, jnp.ones(2))]
        found = jax.value_and_grad(LNCC(0.5), argnums=(0, 1, 2))(*single)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
        cut = LNCC(0.5)(image[:3], target[:3], jnp.ones((3, 8)), jnp.ones(2))
        np.testing.assert_allclose(found[0], cut, rtol=1e-5)

    @pytest.mark.parametrize("window", [1.5, 3.0])
    def test_the_window_is_in_units_of_the_world(self, window):
        """The same images on a fine grid and one that is coarser along one axis."""

        def value(counts):
            spacing = np.array([24.0, 24.0]) / counts
            places = [(np.arange(n) + 0.5) * s for n, s in zip(counts, spacing, strict=True)]
            x, y = jnp.meshgrid(*(jnp.asarray(p) for p in places), indexing="ij")
            image = jnp.sin(0.8 * x) * jnp.cos(0.5 * y) + 0.3 * jnp.sin(0.3 * x + 0.6 * y)
            target = jnp.sin(0.8 * x + 0.5) * jnp.cos(0.5 * y) + 0.2 * jnp.cos(0.2 * x * y / 5)
            grid, steps = jnp.ones(tuple(counts)), jnp.asarray(spacing)
            fidelity = LNCC(window)
            blind = fidelity(image, target, grid, jnp.ones(2))
            return float(fidelity(image, target, grid, steps)), float(blind)

        (fine, wrong), (coarse, _) = value(np.array([96, 96])), value(np.array([48, 80]))
        assert abs(fine - coarse) < 0.01 * fine
        assert abs(wrong - fine) > 0.05 * fine  # spacing that is not heeded

    def test_window_is_a_leaf(self):
        """A search over windows compiles once, and the value changes smoothly with them."""
        arrays = problem(LNCC(2.0), GRIDS["plane"])
        windows = jnp.array([1.0, 2.0, 4.0])
        found = jax.vmap(lambda window: LNCC(window)(*arrays))(windows)
        np.testing.assert_allclose(found, [LNCC(float(x))(*arrays) for x in windows], rtol=1e-12)


def entropy(shares):
    shares = np.asarray(shares)[np.asarray(shares) > 0]
    return float(-np.sum(shares * np.log(shares)))


def spline(x):
    """The cubic B-spline, as the fourfold convolution of a box: by divided differences."""
    knots = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    signs = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
    return float(np.sum(signs * np.maximum(x - knots, 0) ** 3) / 6)


def slow_nmi(a, b, w, bins):
    """The same, voxel by voxel."""
    positions = []
    for x in (a, b):
        counted = x[w > 0]
        low, high = counted.min(), counted.max()
        positions.append(1 + (x - low) / (high - low) * (bins - 3))
    joint = np.zeros((bins, bins))
    for place in np.ndindex(a.shape):
        first, second = (np.array([spline(p[place] - k) for k in range(bins)]) for p in positions)
        joint += w[place] * np.outer(first, second)
    joint /= w.sum()
    both = entropy(joint)
    return 2 - (entropy(joint.sum(0)) + entropy(joint.sum(1))) / both


class TestNMI:
    WINDOW = entropy([1 / 6, 2 / 3, 1 / 6])

    @pytest.mark.parametrize(("grid", "bins"), [("plane", 5), ("space", 12)])
    def test_is_the_slow_loop(self, grid, bins):
        image, target, weights, spacing = problem(NMI(), GRIDS[grid])
        weights = jnp.where(weights < 0.4, 0.0, weights)
        truth = slow_nmi(*(np.asarray(x) for x in (image, target, weights)), bins)
        np.testing.assert_allclose(NMI(bins)(image, target, weights, spacing), truth, rtol=1e-10)

    def test_many_blocks_are_one(self):
        """A grid that fills no whole number of blocks, against NumPy."""
        image, target, weights, spacing = problem(NMI(), (150, 3 * _BLOCK // 150 - 7))
        a, b, w = (np.asarray(x).ravel() for x in (image, target, weights))
        windows = []
        for x in (a, b):
            p = 1 + (x - x.min()) / (x.max() - x.min()) * 5
            windows.append(np.array([np.vectorize(spline)(p - k) for k in range(8)]))
        joint = windows[0] @ (w * windows[1]).T / w.sum()
        truth = 2 - (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
        np.testing.assert_allclose(NMI(8)(image, target, weights, spacing), truth, rtol=1e-9)

    def levels(self, table, bins=15):
        """An image of levels at centres of bins, so far apart that their windows do not meet."""
        return jnp.asarray(np.array([1.0, 5.0, 9.0, 13.0])[table] / bins)

    def test_equal_and_independent(self):
        table = np.repeat(np.arange(4), 4).reshape(4, 4)
        ones, spacing = jnp.ones((4, 4)), jnp.ones(2)
        image, across = self.levels(table), self.levels(table.T)
        # equal: H(A) = H(levels) + H(window), H(A, A) = H(levels) + 2 H(window)
        alone, both = np.log(4) + self.WINDOW, np.log(4) + 2 * self.WINDOW
        truth = 2 - 2 * alone / both
        np.testing.assert_allclose(NMI(15)(image, image, ones, spacing), truth, rtol=1e-10)
        np.testing.assert_allclose(NMI(15)(image, across, ones, spacing), 1.0, rtol=1e-10)
        assert truth < 0.8

    def test_names_of_levels_do_not_count(self):
        rng = np.random.default_rng(2)
        table, drawn = rng.integers(0, 4, size=(2, 9, 8))
        other = np.where(rng.uniform(size=table.shape) < 0.3, drawn, table)
        ones, spacing = jnp.ones((9, 8)), jnp.ones(2)
        value = NMI(15)(self.levels(table), self.levels(other), ones, spacing)
        for order in ([2, 0, 3, 1], [3, 2, 1, 0]):
            renamed = self.levels(np.array(order)[table])
            np.testing.assert_allclose(
                NMI(15)(renamed, self.levels(other), ones, spacing), value, rtol=1e-10
            )
        moved = self.levels(np.roll(table, 1, axis=0))
        assert NMI(15)(moved, self.levels(other), ones, spacing) > value + 0.1

    def test_inverted_contrast(self):
        image, target, weights, spacing = problem(NMI(), GRIDS["space"])
        value = NMI()(image, target, weights, spacing)
        np.testing.assert_allclose(
            NMI()(1e3 - 7 * image, target, weights, spacing), value, rtol=1e-10
        )
        np.testing.assert_allclose(NMI()(target, image, weights, spacing), value, rtol=1e-10)

    def test_sees_what_other_contrasts_hide(self, key):
        """A contrast that is not monotone: correlations break down, information does not."""
        x, y = jnp.meshgrid(jnp.linspace(-1, 1, 30), jnp.linspace(-1, 1, 30), indexing="ij")
        image = x + 0.2 * jnp.sin(9 * y)
        ones, spacing = jnp.ones((30, 30)), jnp.ones(2)
        folded = jnp.square(image)
        shuffled = jax.random.permutation(key, folded.ravel()).reshape(30, 30)
        assert LNCC(1e3)(folded, image, ones, spacing) > 0.95
        assert NMI()(folded, image, ones, spacing) < NMI()(shuffled, image, ones, spacing) - 0.2

    def test_flat_images(self):
        image, _, weights, spacing = problem(NMI(), GRIDS["plane"])
        flat = jnp.full_like(image, 0.1)
        for pair in ((flat, image), (image, flat), (flat, flat)):
            found = jax.value_and_grad(NMI(8), argnums=(0, 1))(*pair, weights, spacing)
            np.testing.assert_allclose(found[0], 1.0, rtol=1e-12)
            assert all(np.all(np.abs(leaf) < 1e-12) for leaf in jax.tree.leaves(found[1]))


class TestSoftDice:
    def test_by_hand(self):
        a = jnp.zeros((2, 2, 4)).at[0, :, :2].set(1.0).at[1, 0, 3].set(1.0)
        b = jnp.zeros((2, 2, 4)).at[0, :, 1:4].set(1.0).at[1, 0, 3].set(0.5)
        # 2 * 2 / (4 + 6), and 2 * 0.5 / (1 + 0.25)
        truth = 1 - (0.4 + 0.8) / 2
        value = SoftDice(2)(a, b, jnp.ones((2, 4)), jnp.ones(2))
        np.testing.assert_allclose(value, truth, rtol=1e-12)
        # the second row counts thrice, the last column not at all
        weights = jnp.array([[1.0], [3.0]]) * jnp.array([[1.0, 1.0, 1.0, 0.0]])
        value = SoftDice(2)(a, b, weights, jnp.ones(2))
        np.testing.assert_allclose(value, (1 - 2 * 4 / (8 + 8)) / 2, rtol=1e-12)

    def test_labels_that_are_nowhere_or_apart(self):
        a = jnp.zeros((2, 3, 3)).at[0, 0].set(1.0)
        ones, spacing = jnp.ones((3, 3)), jnp.ones(2)
        apart = SoftDice(2)(a, a[:, ::-1], ones, spacing)
        np.testing.assert_allclose(apart, 0.5)  # the second label is in neither: it agrees
        gradient = jax.grad(SoftDice(2))(a, a[:, ::-1], ones, spacing)
        assert np.all(np.isfinite(gradient))

    def test_channels_are_counted(self):
        a = jnp.zeros((2, 3, 3))
        with pytest.raises(InputError, match=r"shape \[3, 3, 3\]"):
            SoftDice(3)(a, a, jnp.ones((3, 3)), jnp.ones(2))


def test_a_fidelity_is_an_argument_of_compiled_functions():
    arrays = problem(SSD(), GRIDS["plane"])
    traced = []

    @eqx.filter_jit
    def value(fidelity, *arrays):
        traced.append(1)
        return fidelity(*arrays)

    np.testing.assert_allclose(4 * value(SSD(2.0), *arrays), value(SSD(1.0), *arrays), rtol=1e-12)
    assert len(traced) == 1


def test_the_unit_is_what_an_unrelated_image_gives():
    rng = np.random.default_rng(0)
    target, other = 3.0 * rng.normal(size=(2, 200, 200))
    weights = rng.uniform(size=(200, 200))
    arrays = (jnp.asarray(x) for x in (other, target, weights, np.ones(2)))
    found = SSD(2.0)(*arrays)
    np.testing.assert_allclose(SSD(2.0).unit(target, weights), found, rtol=0.03)
    assert LNCC(3.0).unit(target, weights) == 1.0
