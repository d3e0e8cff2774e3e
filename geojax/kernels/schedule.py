"""How the weights of a sum over pairs are evaluated: few tiles, and as much as may be outside them.

A tile of weights costs about as much to write as its exponential to compute, and adding a channel
to the product with it is cheap. So the scalar function of the weights is read once, operation by
operation, before any tile is made:

- what depends on shared numbers only stays a scalar, and a scalar factor of a weight is applied to
  the sum: for a Gaussian the kernel and its derivative are one tile;
- what two weights have in common is one value;
- a weight that is linear in inner products, `w = c (A_i.B_j)`, is the tile c with the channels
  `B_j F_j` instead of `F_j`, contracted with `A_i` afterwards;
- the exponential of float32 is a short polynomial.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.core.primitives import add_jaxvals_p, add_p, div_p, exp_p, mul_p, neg_p, sub_p

# 2^x on [-1/2, 1/2] to one unit in the last place of float32, exactly one at zero (minimax fit).
_EXP2 = (
    0.001326472712360171,
    0.009671512644825192,
    0.05550733743497011,
    0.2402224208526231,
    0.6931469775989926,
    1.0,
)


class Shared(NamedTuple):
    """A number that is the same for all pairs, and its place in the table of values."""

    value: jax.Array
    key: int


class Pairwise(NamedTuple):
    """A number of each pair: a node of the graph, times a shared factor if there is one."""

    node: int
    factor: Shared | None = None


class Linear(NamedTuple):
    """`sum_l c_l s_l` over inner products l, whose coefficients do not look at any of them."""

    terms: tuple[tuple[int, "Plain"], ...]


Plain = Shared | Pairwise
Value = Shared | Pairwise | Linear


class Schedule:
    """The graph of operations over pairs, and what each weight is in terms of it.

    Args:
        closed: the weights, a function of scalars.
        products: number of products of differences, its first arguments.
        inner: number of inner products, transposed ones included, its next arguments.
        theta: the shared numbers, its last arguments.
        polynomial: whether to take the exponential of float32 by the polynomial.

    Attributes:
        outputs: the weights.
        primitives: what is done with numbers of a pair, by the names of JAX's primitives.
        scalar: whether all numbers of a pair are scalars.
    """

    def __init__(
        self,
        closed: ClosedJaxpr,
        products: int,
        inner: int,
        theta: Sequence,
        *,
        polynomial: bool = True,
    ):
        self._keys: dict = {}
        self._operations: list[tuple[Callable, tuple[Plain, ...]]] = []
        self._held: list = []
        self._polynomial = polynomial
        self.primitives: set[str] = set()
        self.scalar = True
        self._dtype = closed.out_avals[0].dtype
        arguments: list[Value] = [Pairwise(self._input(k)) for k in range(products)]
        one = self._share(np.ones((), self._dtype))
        self._inner_nodes = [self._input(products + k) for k in range(inner)]
        arguments += [Linear(((k, one),)) for k in range(inner)]
        arguments += [self._share(v) for v in theta]
        self.outputs = self._read(closed, arguments)

    def _input(self, k) -> int:
        return self._node(("input", k), (lambda: None, ()))

    def _node(self, key, operation) -> int:
        if key not in self._keys:
            self._keys[key] = len(self._operations)
            self._operations.append(operation)
        return self._keys[key]

    def _share(self, value) -> Shared:
        # literals are known again by their value, arguments by their identity
        if isinstance(value, np.ndarray) and value.ndim == 0:
            key = "literal", value.tobytes(), str(value.dtype)
        else:
            self._held.append(value)  # or another value could take its identity
            key = "argument", id(value)
        return Shared(jnp.asarray(value), self._number(key))

    def _number(self, key) -> int:
        return self._keys.setdefault(key, -len(self._keys) - 1)

    def _read(self, closed: ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
        jaxpr = closed.jaxpr
        env: dict = dict(zip(jaxpr.invars, arguments, strict=True))
        env |= {v: self._share(c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}

        def read(v):
            if not isinstance(v, Literal):
                return env[v]
            return self._share(np.asarray(v.val))

        for eqn in jaxpr.eqns:
            values = [read(v) for v in eqn.invars]
            if eqn.primitive.name in _CALLS:
                body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
                body = body if isinstance(body, ClosedJaxpr) else ClosedJaxpr(body, ())
                out = self._read(body, values)
            else:
                out = self._apply(eqn, values)
            env |= dict(zip(eqn.outvars, out, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _apply(self, eqn, values: list[Value]) -> list[Value]:
        # the rules are those of real numbers: integers divide otherwise
        rule = _LINEAR.get(eqn.primitive)
        same = eqn.outvars[0].aval.dtype == self._dtype
        if rule is not None and same and any(not isinstance(v, Shared) for v in values):
            out = rule(self, *values)
            if out is not None:
                return [out]
        key = (eqn.primitive.name, str(sorted(eqn.params.items(), key=lambda item: item[0])))
        single = (
            self._polynomial and eqn.primitive is exp_p and eqn.invars[0].aval.dtype == np.float32
        )

        def operation(*arrays):
            out = _exp(*arrays) if single else eqn.primitive.bind(*arrays, **eqn.params)
            return out if eqn.primitive.multiple_results else [out]

        shared = [v for v in values if isinstance(v, Shared)]
        if len(shared) == len(values):
            results = operation(*(v.value for v in shared))
            keys = (key, tuple(v.key for v in shared))
            return [Shared(r, self._number((keys, k))) for k, r in enumerate(results)]
        self.primitives.add(eqn.primitive.name)
        self.scalar &= not any(v.aval.ndim for v in (*eqn.invars, *eqn.outvars))
        plain = tuple(self.plain(v) for v in values)
        keys = (key, tuple(v.key if isinstance(v, Shared) else v.node for v in plain))
        return [
            Pairwise(self._node((keys, k), (lambda *a, k=k: operation(*a)[k], plain)))
            for k in range(len(eqn.outvars))
        ]

    def plain(self, value: Value) -> Plain:
        """The value as a node without a factor, or a shared number."""
        if isinstance(value, Linear):
            nodes = self._inner_nodes
            terms = [self._times(c, Pairwise(nodes[k])) for k, c in value.terms]
            value = functools.reduce(self._plus, terms)
        if isinstance(value, Pairwise) and value.factor is not None:
            key = "scaled", value.node, value.factor.key
            operation = jnp.multiply, (Pairwise(value.node), value.factor)
            return Pairwise(self._node(key, operation))
        return value

    def _times(self, a: Plain, b: Plain) -> Plain:
        """The product of two values without inner products; shared factors stay outside."""
        if isinstance(a, Shared):
            return self._shared_product(a, b) if isinstance(b, Shared) else self._times(b, a)
        if isinstance(b, Shared):
            return Pairwise(a.node, self._shared_product(a.factor, b) if a.factor else b)
        key = ("mul", *sorted((a.node, b.node)))
        node = self._node(key, (jnp.multiply, (Pairwise(a.node), Pairwise(b.node))))
        left, right = a.factor, b.factor
        return Pairwise(
            node, self._shared_product(left, right) if left and right else left or right
        )

    def _shared_product(self, a: Shared, b: Shared) -> Shared:
        return Shared(a.value * b.value, self._number(("mul", *sorted((a.key, b.key)))))

    def _shared_sum(self, a: Shared, b: Shared) -> Shared:
        return Shared(a.value + b.value, self._number(("add", *sorted((a.key, b.key)))))

    def _plus(self, a: Plain, b: Plain) -> Plain:
        if isinstance(a, Shared) and isinstance(b, Shared):
            return self._shared_sum(a, b)
        if isinstance(a, Pairwise) and isinstance(b, Pairwise) and a.node == b.node:
            one = self._share(np.ones((), self._dtype))
            return Pairwise(a.node, self._shared_sum(a.factor or one, b.factor or one))
        a, b = self.plain(a), self.plain(b)
        keys = sorted(v.key if isinstance(v, Shared) else v.node for v in (a, b))
        return Pairwise(self._node(("add", *keys), (jnp.add, (a, b))))

    def mul(self, a: Value, b: Value) -> Value | None:
        if isinstance(a, Linear):
            return None if isinstance(b, Linear) else self._scaled(a, b)
        return self._scaled(b, a) if isinstance(b, Linear) else self._times(a, b)

    def _scaled(self, a: Linear, b: Plain) -> Linear:
        return Linear(tuple((k, self._times(c, b)) for k, c in a.terms))

    def add(self, a: Value, b: Value) -> Value | None:
        if isinstance(a, Linear) and isinstance(b, Linear):
            terms = dict(a.terms)
            for k, c in b.terms:
                terms[k] = self._plus(terms[k], c) if k in terms else c
            return Linear(tuple(terms.items()))
        if isinstance(a, Linear) or isinstance(b, Linear):
            return None
        return self._plus(a, b)

    def neg(self, a: Value) -> Value:
        minus = self._share(np.asarray(-1.0, self._dtype))
        return self._scaled(a, minus) if isinstance(a, Linear) else self._times(a, minus)

    def sub(self, a: Value, b: Value) -> Value | None:
        return self.add(a, self.neg(b))

    def div(self, a: Value, b: Value) -> Value | None:
        if not isinstance(b, Shared):
            return None
        return self.mul(a, Shared(1.0 / b.value, self._number(("inverse", b.key))))

    def shared(self, nodes: Sequence[int]) -> dict[int, jax.Array]:
        """The shared numbers that some nodes look at, by their keys."""
        found, seen, left = {}, set(), list(nodes)
        while left:
            index = left.pop()
            if index in seen:
                continue
            seen.add(index)
            for v in self._operations[index][1]:
                if isinstance(v, Shared):
                    found[v.key] = v.value
                else:
                    left.append(v.node)
        return found

    def evaluate(
        self, nodes: Sequence[int], inputs: Sequence[jax.Array], shared: dict | None = None
    ) -> list[jax.Array]:
        """The arrays of some nodes, given those of the inputs; each is computed once.

        Args:
            nodes: which.
            inputs: products and inner products of the pairs, two axes each.
            shared: what stands for the shared numbers, by their keys: themselves by default.
        """
        done = {self._keys["input", k]: v for k, v in enumerate(inputs)}

        def value(v):
            if not isinstance(v, Shared):
                return node(v.node)
            return v.value if shared is None else shared[v.key]

        def node(index):
            if index not in done:
                operation, operands = self._operations[index]
                axes = [None if isinstance(v, Shared) else 0 for v in operands]
                over_pairs = jax.vmap(jax.vmap(operation, axes), axes)
                done[index] = over_pairs(*(value(v) for v in operands))
            return done[index]

        return [node(index) for index in nodes]


# What holds a function that is called once; loops hold one as well, but repeat it.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "checkpoint", "remat2"}

_LINEAR = {
    mul_p: Schedule.mul,
    add_p: Schedule.add,
    add_jaxvals_p: Schedule.add,
    sub_p: Schedule.sub,
    neg_p: Schedule.neg,
    div_p: Schedule.div,
}


def _exp(x):
    """`exp` in float32 by a polynomial and an addition to the bits of the exponent."""
    scaled = jnp.clip(x * np.float32(1 / np.log(2)), np.float32(-126.0), np.float32(127.0))
    whole = jnp.round(scaled)
    rest = scaled - whole
    value = jnp.full_like(rest, np.float32(_EXP2[0]))
    for coefficient in _EXP2[1:]:
        value = value * rest + np.float32(coefficient)
    bits = jax.lax.bitcast_convert_type(value, jnp.int32) + (whole.astype(jnp.int32) << 23)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
