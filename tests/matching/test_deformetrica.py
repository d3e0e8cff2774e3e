"""Numbers of Deformetrica 4.3.0 in float64, from its kernel to the objective of a subject.

Its kernel is `exp(-r^2 / width^2)`, a Gaussian of scale `width / sqrt(2)`; its distances are twice
our fidelities, its regularity and its attachment are minus twice our energy and weighted fidelity,
so its total, a log-likelihood, is minus twice the objective of `match` at the weight
`1 / noise_variance`.

It shoots with the explicit midpoint rule. It moves the template by Heun's rule through the control
points at the saved times, not in one solve with them, and takes the second slope of the last step
from the control points one step *after* the end: `flowed` does the same with public pieces.
"""

import functools
import json

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems.meshes import data
from systems.numerics import largest, relative_error

from geojax.actions import Points
from geojax.geodesics import hamiltonian, shoot
from geojax.kernels import Gaussian, hamiltonian_field, kernel_sum
from geojax.metrics import RKHS
from geojax.shapes import Currents, Surface, Varifold

FAMILIES = {"current": Currents, "varifold": Varifold}


def stored(name):
    file = data(f"deformetrica_oracles/deformetrica-4.3.0-{name}.json")
    content = json.loads(file.read_text())
    return content["inputs"], content["expected"]


def gaussian(width):
    return Gaussian(width / 2**0.5)


class TestPrimitives:
    def test_kernel(self):
        given, expected = stored("primitives")
        q, p = jnp.asarray(given["control_points"]), jnp.asarray(given["momenta"])
        kernel = gaussian(given["kernel_width"])
        velocity, force = hamiltonian_field(kernel, q, p)
        assert relative_error(kernel(q, q), expected["kernel"]) < 1e-10
        assert relative_error(velocity, expected["convolution"]) < 1e-10
        assert relative_error(kernel_sum(kernel, q, q, p), expected["convolution"]) < 1e-10
        assert relative_error(-force, expected["gradient"]) < 1e-10
        norm = 2 * hamiltonian(RKHS(kernel), Points(), q, p)
        np.testing.assert_allclose(norm, expected["norm_squared"], rtol=1e-10)

    def test_a_step_of_shooting(self):
        given, expected = stored("primitives")
        q, p = jnp.asarray(given["control_points"]), jnp.asarray(given["momenta"])
        metric = RKHS(gaussian(given["kernel_width"]))
        steps = given["number_of_time_points"] - 1

        def one_step(solver):
            path = shoot(metric, Points(), q, p, num_steps=steps, solver=solver)
            return path.states[1], path.costates[1]

        position, momentum = one_step(diffrax.Midpoint())
        assert relative_error(position, expected["rk2_q_step"]) < 1e-10
        assert relative_error(momentum, expected["rk2_p_step"]) < 1e-10
        # negative control: another rule of second order
        assert relative_error(one_step(diffrax.Heun())[0], expected["rk2_q_step"]) > 1e-6


@pytest.mark.parametrize("name", FAMILIES)
class TestObjective:
    def shapes(self, given):
        triangles = given["triangles"]
        source = Surface(np.array(given["template_vertices"]), triangles)
        return source, Surface(np.array(given["target_vertices"]), triangles)

    def fidelity(self, name, given):
        kernel = gaussian(given["attachment_width"])
        return FAMILIES[name](kernel).between(*self.shapes(given))

    def test_distances(self, name):
        given, expected = stored("objective")
        source, target = self.shapes(given)
        bound = self.fidelity(name, given)
        value, gradient = jax.value_and_grad(lambda x: 2 * bound(x, target.vertices))(
            source.vertices
        )
        np.testing.assert_allclose(value, expected["static"][name]["distance"], rtol=1e-10)
        assert relative_error(gradient, expected["static"][name]["source_gradient"]) < 1e-10

    def test_subject(self, name):
        given, expected = stored("objective")
        expected = expected["subject"][name]
        source, target = self.shapes(given)
        metric = RKHS(gaussian(given["deformation_width"]))
        bound = self.fidelity(name, given)
        steps = given["number_of_time_points"] - 1

        def total(template, control_points, momenta):
            endpoint = flowed(metric, template, control_points, momenta, steps)
            residual = 2 * bound(endpoint, target.vertices)
            attachment = -residual / given["noise_variance"]
            regularity = -2 * hamiltonian(metric, Points(), control_points, momenta)
            value = attachment + regularity
            parts = dict(
                endpoint=endpoint,
                residual=residual,
                attachment=attachment,
                regularity=regularity,
                total=value,
            )
            return value, parts

        arguments = (
            source.vertices,
            jnp.asarray(given["control_points"]),
            jnp.asarray(given["momenta"]),
        )
        gradients, found = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(*arguments)
        names = ("template", "control_points", "momenta")
        found |= {f"{of}_gradient": g for of, g in zip(names, gradients, strict=True)}
        assert found.keys() == expected.keys()
        errors = {key: relative_error(found[key], expected[key]) for key in expected}
        assert max(errors.values()) < 1e-10, errors


def test_carried_by_the_solve_itself():
    """Negative control: what `shoot` carries in one solve, and its own limit, end elsewhere."""
    given, expected = stored("objective")
    endpoint = np.array(expected["subject"]["current"]["endpoint"])
    metric = RKHS(gaussian(given["deformation_width"]))

    def gap(**options):
        template, control_points, momenta = (
            jnp.asarray(given[name]) for name in ("template_vertices", "control_points", "momenta")
        )
        path = shoot(metric, Points(), control_points, momenta, carried=template, **options)
        return largest(path.carried[-1] - endpoint)

    assert 1e-5 < gap(num_steps=3, solver=diffrax.Midpoint()) < 1e-3
    assert 1e-5 < gap(num_steps=50) < 1e-3


@functools.partial(jax.jit, static_argnums=4)
def flowed(metric, points, control_points, momenta, steps):
    """Points moved as Deformetrica does, see above."""
    h = 1 / steps
    path = shoot(
        metric,
        Points(),
        control_points,
        momenta,
        t1=1 + h,
        num_steps=steps + 1,
        solver=diffrax.Midpoint(),
        throw=False,
    )

    def velocity(x, time):
        return kernel_sum(metric.kernel, x, path.states[time], path.costates[time])

    for now in range(steps):
        after = now + 1 if now < steps - 1 else steps + 1
        slope = velocity(points, now)
        points = points + h / 2 * (slope + velocity(points + h * slope, after))
    return points
