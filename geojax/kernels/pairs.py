"""Sums over all pairs of points, as one primitive that is closed under differentiation.

For rows i and columns j the primitive computes, for every m,

    out_m[:, i] = sum_j w_m(e_ij, s_ij, theta) F_m[:, j]

where the weights `w_m` are scalar functions of a few numbers of the pair: products of differences
`e = (X_k,i - Y_k,j).(X_l,i - Y_l,j)` (the first is the squared distance), inner products
`s = A_l,i.B_l,j`, and shared numbers `theta` such as the scales of a kernel. Kernel sums, particle
Hamiltonians, currents and varifolds are all of this form, and so are their derivatives: a tangent
adds differences and inner products to the list, and the transpose of a sum over columns is a sum
over rows with the derivative of one scalar function, `V = sum_m w_m (G_m,i.F_m,j)`, for weights.
So a derivative of any order, forward or reverse, is again this primitive: the matrix over pairs
is recomputed tile by tile and never stored.

Where rows and columns are the same points (`symmetric`), the weights also see the transposed inner
products `t_ij = s_ji`, and the two passes of a reverse derivative become one.

Arrays are channel-major, `[c, n]`: pairs lie along the lanes of the processor.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir, partial_eval as pe

from geojax._core import checks
from geojax._core.errors import InputError
from geojax.kernels import eager, forms, ring

# weights(e, s, t, theta), lists of scalars in, a list of scalars out
Weights = Callable[[list, list, list, list], Sequence]

pair_sums_p = Primitive("pair_sums")
pair_sums_p.multiple_results = True


def pair_sums(
    weights: Weights, products, x, y, a, b, features, theta, form=None
) -> list[jax.Array]:
    """All sums over pairs of one set of weights.

    Args:
        weights: scalar function `(e, s, t, theta) -> [w_1, ..., w_M]`, differentiable by JAX.
        products: pairs (k, l) of differences, one for each `e`.
        x, y: positions of rows and columns, `[c_k, n]` and `[c_k, m]`; y is None if they are the
            same points, and then the weights receive `t`.
        a, b: vectors of the inner products, `[c_l, n]` and `[c_l, m]`; between the same points b_l
            may be None where it is a_l, whose derivative is then one sum instead of two.
        features: what is summed with each weight, `[c_m, m]`.
        theta: shared scalars.
        form: which program computes them (`forms`); that of the context by default.

    Returns:
        M arrays `[c_m, n]`.

    Raises:
        InputError: weights that close over a traced value.

    Gradient: forward and reverse, any order, in every array and in theta.
    """
    symmetric = y is None
    dtype = x[0].dtype
    scalar = jax.ShapeDtypeStruct((), dtype)
    counts = len(products), len(a), len(a) if symmetric else 0, len(theta)
    closed = jax.make_jaxpr(lambda *args: list(weights(*_split(args, counts))))(
        *[scalar] * sum(counts)
    )
    if any(checks.is_tracer(c) for c in closed.consts):
        raise InputError(
            "A kernel's profile must not close over a value that JAX traces; make that value a "
            "field of the kernel."
        )
    jaxpr, used = pe.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    use_e, use_s, use_t, use_theta = _split(used, counts)
    # what the weights do not look at is not carried along; positions stay, to tell the size
    inner = [k for k in range(len(a)) if use_s[k] or (symmetric and use_t[k])]
    products = [p for p, use in zip(products, use_e, strict=True) if use]
    kept = sorted({0, *(k for p in products for k in p)})
    products = tuple((kept.index(k), kept.index(l)) for k, l in products)
    theta = [v for v, use in zip(theta, use_theta, strict=True) if use]
    # one scalar for each inner product that is left, whether it is looked at or not
    flags = [True] * len(products), [use_s[k] for k in inner]
    flags += ([use_t[k] for k in inner] if symmetric else [],)
    arrays = [
        *(x[k] for k in kept),
        *(() if symmetric else (y[k] for k in kept)),
        *(a[k] for k in inner),
        *(b[k] for k in inner if b[k] is not None),
        *features,
    ]
    form = forms.chosen() if form is None else form
    if isinstance(form, forms.Ring):
        arrays = ring.place(form.mesh, arrays)
    return pair_sums_p.bind(
        *arrays,
        *theta,
        jaxpr=ClosedJaxpr(jaxpr, closed.consts),
        seen=tuple(map(tuple, flags)),
        products=products,
        layout=Layout(len(kept), tuple(b[k] is None for k in inner), len(features), symmetric),
        form=form,
    )


class Layout(NamedTuple):
    """What the operands of the primitive are.

    Attributes:
        differences: how many positions there are.
        own: for every inner product, whether its two vectors are one.
        features: how many features there are.
        symmetric: whether rows and columns are the same points.
    """

    differences: int
    own: tuple[bool, ...]
    features: int
    symmetric: bool

    def unpack(self, operands):
        """x, y, a, b, features, theta; y is None, and an entry of b, where it is x or that of a."""
        columns = 0 if self.symmetric else self.differences
        counts = [self.differences, columns, len(self.own), self.own.count(False), self.features]
        x, y, a, b, f, theta = _split(operands, [*counts, len(operands) - sum(counts)])
        b = iter(b)
        return (
            x,
            (None if self.symmetric else y),
            a,
            [None if o else next(b) for o in self.own],
            f,
            theta,
        )


def _split(flat, counts) -> list[list]:
    """Consecutive pieces of a flat sequence."""
    pieces, start = [], 0
    for count in counts:
        pieces.append(list(flat[start : start + count]))
        start += count
    return pieces


def _weights_of(jaxpr, seen) -> Weights:
    """The weights as a function of all that is left, some of which they do not look at."""
    evaluate = jaxpr_as_fun(jaxpr)

    def weights(e, s, t, theta):
        looked = [
            v
            for values, use in zip((e, s, t), seen, strict=True)
            for v, flag in zip(values, use, strict=True)
            if flag
        ]
        return evaluate(*looked, *theta)

    return weights


@pair_sums_p.def_abstract_eval
def _abstract(*operands, jaxpr, seen, products, layout, form):
    del jaxpr, seen, products, form
    x, _, _, _, features, _ = layout.unpack(operands)
    return [x[0].update(shape=(f.shape[0], x[0].shape[1])) for f in features]


def _evaluate(*operands, jaxpr, seen, products, layout, form, platform=None):
    x, y, a, b, features, theta = layout.unpack(operands)
    weights = _weights_of(jaxpr, seen)
    counts = len(products), len(a), len(a) if layout.symmetric else 0, len(theta)
    scalar = jax.ShapeDtypeStruct((), x[0].dtype)
    whole = jax.make_jaxpr(lambda *args: weights(*_split(args, counts)))(*[scalar] * sum(counts))
    return forms.sums(form, platform, whole, products, x, y, a, b, features, theta)


for _platform in (None, "cuda"):
    _rule = functools.partial(_evaluate, platform=_platform)
    mlir.register_lowering(
        pair_sums_p, mlir.lower_fun(_rule, multiple_results=True), platform=_platform
    )


@pair_sums_p.def_impl
def _run(*operands, **params):
    return eager.compiled(pair_sums_p, params)(*operands)


def _jvp(primals, tangents, *, jaxpr, seen, products, layout, form):
    """The tangent of the sums: more differences and inner products, and the weights' tangent."""
    params = dict(jaxpr=jaxpr, seen=seen, products=products, layout=layout, form=form)
    out = pair_sums_p.bind(*primals, **params)
    tangents = [None if type(v) is ad.Zero else v for v in tangents]
    symmetric = layout.symmetric
    x, y, a, b, features, theta = layout.unpack(primals)
    dx, dy, da, db, df, dtheta = layout.unpack(tangents)
    weights = _weights_of(jaxpr, seen)

    # the new differences, one for each that moves, after the old ones
    moving = {}
    more_x, more_y = list(x), list(y or [])
    for k in range(len(x)):
        if dx[k] is None and (symmetric or dy[k] is None):
            continue
        moving[k] = len(more_x)
        more_x.append(_instantiate(dx[k], x[k]))
        if not symmetric:
            more_y.append(_instantiate(dy[k], y[k]))
    more_products = list(products)
    product_tangents = []
    for k, l in products:
        terms = [(stays, moving[moves]) for stays, moves in ((l, k), (k, l)) if moves in moving]
        product_tangents.append(range(len(more_products), len(more_products) + len(terms)))
        more_products += terms
    # the new inner products
    more_a, more_b = list(a), list(b)
    inner_tangents = []
    for k in range(len(a)):
        other = a[k] if layout.own[k] else b[k]
        terms = [(da[k], other)] * (da[k] is not None) + [(a[k], db[k])] * (db[k] is not None)
        inner_tangents.append(range(len(more_a), len(more_a) + len(terms)))
        more_a += [left for left, _ in terms]
        more_b += [right for _, right in terms]
    shared = [k for k, v in enumerate(dtheta) if v is not None]
    still = not (moving or shared or any(len(terms) for terms in inner_tangents))
    carried = [m for m, v in enumerate(df) if v is not None]

    def tangent_weights(e, s, t, th):
        def split(values, tangent_terms):
            old = values[: len(tangent_terms)]
            zero = jnp.zeros_like(jnp.asarray(0.0, x[0].dtype))
            return old, [sum((values[i] for i in terms), zero) for terms in tangent_terms]

        e, de = split(e, product_tangents)
        s, ds = split(s, inner_tangents)
        t, dt = split(t, inner_tangents) if symmetric else ([], [])
        for k, own in enumerate(layout.own):  # the vector moves on both sides
            if own:
                ds[k] = dt[k] = ds[k] + dt[k]
        th, moved = th[: len(theta)], dict(zip(shared, th[len(theta) :], strict=True))
        dth = [moved.get(k, jnp.zeros_like(v)) for k, v in enumerate(th)]
        values, slopes = jax.jvp(weights, (e, s, t, th), (de, ds, dt, dth))
        return ([] if still else list(slopes)) + [values[m] for m in carried]

    changes = pair_sums(
        tangent_weights,
        more_products,
        more_x,
        None if symmetric else more_y,
        more_a,
        more_b,
        ([] if still else list(features)) + [df[m] for m in carried],
        [*theta, *(dtheta[k] for k in shared)],
        form,
    )
    total = [jnp.zeros_like(o) for o in out] if still else changes[: len(out)]
    for m, change in zip(carried, changes[len(changes) - len(carried) :], strict=True):
        total[m] = change if still else total[m] + change
    return out, total


ad.primitive_jvps[pair_sums_p] = _jvp


def _instantiate(tangent, like):
    return jnp.zeros_like(like) if tangent is None else tangent


def _transpose(cotangents, *operands, jaxpr, seen, products, layout, form):
    """Sums over rows (and over columns) with the derivatives of `V` as weights."""
    symmetric = layout.symmetric
    unknown = [ad.is_undefined_primal(v) for v in operands]
    # linear in what is unknown, so that derivatives there do not depend on its value
    known = [jnp.zeros(v.aval.shape, v.aval.dtype) if u else v for v, u in zip(operands, unknown)]
    x, y, a, b, features, theta = layout.unpack(known)
    ux, uy, ua, ub, uf, utheta = layout.unpack(unknown)
    weights = _weights_of(jaxpr, seen)
    g = [
        jnp.zeros((f.shape[0], x[0].shape[1]), f.dtype) if type(ct) is ad.Zero else ct
        for ct, f in zip(cotangents, features, strict=True)
    ]
    blank_e = [ux[k] or ux[l] or (not symmetric and (uy[k] or uy[l])) for k, l in products]
    blank_s = [left or bool(right) for left, right in zip(ua, ub, strict=True)]
    inner = len(a)

    def derivatives(e, s, t, th):
        """Gradient of V in all its arguments, `s` and `t` holding the G.F beside the A.B."""
        zero = jnp.zeros((), x[0].dtype)
        e = [zero if blank else v for v, blank in zip(e, blank_e, strict=True)]
        th = [zero if blank else v for v, blank in zip(th, utheta, strict=True)]

        def known_inner(values):
            ab, gf = values[:inner], values[inner:]
            ab = [zero if blank else v for v, blank in zip(ab, blank_s, strict=True)]
            return ab + [zero if blank else v for v, blank in zip(gf, uf, strict=True)]

        def total(e, s, t, th):
            value = sum(w * v for w, v in zip(weights(e, s[:inner], t[:inner], th), s[inner:]))
            if symmetric:
                swapped = weights(e, t[:inner], s[:inner], th)
                value = value + sum(w * v for w, v in zip(swapped, t[inner:]))
            return value

        t = known_inner(t) if symmetric else t
        return jax.grad(total, argnums=(0, 1, 2, 3))(e, known_inner(s), t, th)

    def reduce(rows_x, cols_x, rows, cols, wanted_x, wanted, wanted_theta):
        """One pass. `rows`, `cols`: the inner vectors; `wanted`: (which slot, feature, target)."""
        groups = []  # (index into the gradient, features)
        across = rows_x if cols_x is None else cols_x
        ones = jnp.ones((1, across[0].shape[1]), x[0].dtype)
        for p, (k, l) in enumerate(products):
            sides = [(i, j) for i, j in ((k, l), (l, k)) if wanted_x[i]]
            if sides:
                groups.append(((0, p), [ones, *(across[j] for _, j in sides)], sides))
        groups += [(slot, [f], target) for slot, f, target in wanted]
        groups += [((3, k), [ones], k) for k in wanted_theta]
        if not groups:
            return [], []

        def selected(*pair):
            found = derivatives(*pair)
            return [found[kind][index] for (kind, index), _, _ in groups]

        stacked = [jnp.concatenate(f) if len(f) > 1 else f[0] for _, f, _ in groups]
        return groups, pair_sums(
            selected, products, rows_x, cols_x, rows, cols, stacked, theta, form
        )

    out = {}

    def add(key, value):
        out[key] = out[key] + value if key in out else value

    def collect(groups, sums, rows_x, name):
        for (slot, _, target), total in zip(groups, sums, strict=True):
            if slot[0] == 0:
                mass, start = total[:1], 1
                for i, j in target:
                    size = rows_x[j].shape[0]
                    add((name, i), rows_x[j] * mass - total[start : start + size])
                    start += size
            elif slot[0] == 3:
                add(("theta", target), jnp.sum(total) * (0.5 if symmetric else 1.0))
            else:
                add(target, total)

    rows, cols = [*a, *g], [*b, *features]
    wanted_theta = [k for k, u in enumerate(utheta) if u]
    # a product of a vector with itself is linear in nothing, so b[k] is there where a[k] is unknown
    left = [((1, k), b[k], ("a", k)) for k in range(inner) if ua[k]]
    right = [(k, a[k], ("b", k)) for k in range(inner) if ub[k]]
    right += [(inner + m, g[m], ("f", m)) for m in range(len(g)) if uf[m]]
    if symmetric:
        wanted = left + [((2, k), f, target) for k, f, target in right]
        collect(*reduce(x, None, rows, cols, ux, wanted, wanted_theta), x, "x")
    else:
        collect(*reduce(x, y, rows, cols, ux, left, wanted_theta), x, "x")
        wanted = [((1, k), f, target) for k, f, target in right]
        collect(*reduce(y, x, cols, rows, uy, wanted, []), y, "y")

    names = [("x", k) for k in range(len(x))]
    names += [] if symmetric else [("y", k) for k in range(len(x))]
    names += [("a", k) for k in range(inner)] + [
        ("b", k) for k in range(inner) if not layout.own[k]
    ]
    names += [("f", k) for k in range(len(features))]
    names += [("theta", k) for k in range(len(theta))]
    return [
        out.get(name, ad.Zero(v.aval)) if u else None
        for name, u, v in zip(names, unknown, operands, strict=True)
    ]


ad.primitive_transposes[pair_sums_p] = _transpose


def _batch(operands, dims, **params):
    """One lane after another: each is large enough to fill the machine, small ones are dense."""
    mapped = [jnp.moveaxis(v, d, 0) for v, d in zip(operands, dims, strict=True) if d is not None]

    def lane(mapped):
        mapped = iter(mapped)
        values = [v if d is None else next(mapped) for v, d in zip(operands, dims, strict=True)]
        return pair_sums_p.bind(*values, **params)

    out = jax.lax.map(lane, mapped)
    return out, [0] * len(out)


batching.primitive_batchers[pair_sums_p] = _batch
