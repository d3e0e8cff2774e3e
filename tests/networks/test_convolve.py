"""A convolution of images with derivatives of its own, against that of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from geojax.networks import convolve

NUMBERS = ("NHWC", "HWIO", "NHWC")
# strides, padding, dilation of the images and of the kernel
CASES = [
    ((1, 1), "SAME", (1, 1), (1, 1)),
    ((2, 2), "SAME", (1, 1), (1, 1)),
    ((2, 1), "VALID", (1, 1), (1, 2)),
    ((2, 1), ((2, 0), (1, 3)), (2, 1), (1, 2)),
]


def pair(*case):
    """The two convolutions, and something to convolve."""
    x = jax.random.normal(jax.random.key(0), (3, 9, 8, 2))
    w = jax.random.normal(jax.random.key(1), (3, 2, 2, 4))
    functions = [
        lambda x, w, f=f: f(x, w, *case, dimension_numbers=NUMBERS)
        for f in (convolve, jax.lax.conv_general_dilated)
    ]
    return *functions, x, w


@pytest.mark.parametrize("case", CASES)
def test_values_and_derivatives_are_those_of_jax(case):
    ours, jaxs, x, w = pair(*case)

    def second(f):
        def along(x, w):
            return jax.jvp(lambda x: jnp.tanh(f(x, w)), (x,), (jnp.cos(x),))[1]

        return jax.grad(lambda x, w: jnp.sum(along(x, w) ** 2), (0, 1))

    for one in (lambda f: f, second):
        found, expected = jax.jit(lambda x, w, one=one: (one(ours)(x, w), one(jaxs)(x, w)))(x, w)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), found, expected)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, None), (None, 2)])
def test_lanes(axes):
    ours, jaxs, x, w = pair((2, 2), "SAME")
    x = x if axes[0] is None else jnp.stack([x, 2 * x, x - 1], axis=axes[0])
    w = w if axes[1] is None else jnp.stack([w, w + 1, -w], axis=axes[1])
    one, other = (jax.vmap(f, in_axes=axes)(x, w) for f in (ours, jaxs))
    np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{"feature_group_count": 2}, {"precision": "highest"}, {"kernel_size": (3,)}]
)
def test_other_convolutions_are_those_of_jax(options):
    options = {"kernel_size": (3, 3), "dtype": jnp.float64, **options}
    x = jax.random.normal(jax.random.key(0), (5, *[6] * len(options["kernel_size"]), 2))
    layers = [
        nnx.Conv(2, 4, **options, **extra, rngs=nnx.Rngs(0))
        for extra in ({"conv_general_dilated": convolve}, {})
    ]
    np.testing.assert_array_equal(*(layer(x) for layer in layers))


def test_axes_are_in_order_in_loops():
    """The compiler orders them itself, but only outside of loops."""

    def loss(convolution, x, w):
        def body(x, _):
            return convolution(x, w), None

        return jnp.sum(jax.lax.scan(body, x, length=3)[0] ** 2)

    x, w = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 3))

    def labels(f):
        function = lambda x, w: f(x, w, (1, 1), "SAME", dimension_numbers=NUMBERS)  # noqa: E731
        program = jax.jit(jax.grad(lambda *xw: loss(function, *xw), (0, 1))).lower(x, w).as_text()
        return {
            line.split("dim_numbers =")[1].split(", window")[0].strip()
            for line in program.splitlines()
            if "stablehlo.convolution" in line
        }

    assert labels(convolve) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert len(labels(jax.lax.conv_general_dilated)) == 3


def test_answers_without_pixels_have_derivatives():
    x, w = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    loss = lambda x: jnp.sum(convolve(x, w, (1, 1), "VALID", dimension_numbers=NUMBERS))  # noqa: E731
    np.testing.assert_array_equal(jax.grad(loss)(x), 0.0)


def test_a_precision_that_is_set_is_kept():
    x, w = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))

    def lowered():
        f = lambda x, w: convolve(x, w, (1, 1), "SAME", dimension_numbers=NUMBERS)  # noqa: E731
        return jax.jit(f).lower(x, w).as_text()

    with jax.default_matmul_precision("highest"):
        assert "HIGHEST" in lowered()
    assert "HIGHEST" not in lowered()
