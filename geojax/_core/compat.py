"""What depends on the versions of other libraries, in one place."""

import contextlib

import jax
import jax.numpy as jnp
from ott.geometry import pointcloud


@contextlib.contextmanager
def standard_promotion():
    """Run code of other libraries that counts on JAX's standard dtype and rank promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@jax.tree_util.register_pytree_node_class
class BlockedPointCloud(pointcloud.PointCloud):
    """A point cloud whose cost matrix is recomputed block by block.

    ott-jax 0.6 crashes in its own online mode with jax >= 0.9; this replaces the one operation
    that Sinkhorn needs there. Only the log-sum-exp application is blocked.
    """

    @property
    def is_online(self) -> bool:
        return True

    def apply_lse_kernel(self, f, g, eps, vec=None, axis=0):
        if vec is not None:
            raise ValueError("BlockedPointCloud applies its kernel to ones only.")
        x, y, own, other = (self.x, self.y, f, g) if axis == 1 else (self.y, self.x, g, f)
        size = max(1, (self.batch_size or 2**20) // y.shape[0])

        def rows(point_and_potential):
            point, potential = point_and_potential
            cost = self.cost_fn.all_pairs(point[None], y)[0]
            return eps * jax.nn.logsumexp((potential + other - cost) / eps)

        out = jax.lax.map(rows, (x, own), batch_size=min(size, x.shape[0]))
        return out - jnp.where(jnp.isfinite(own), own, 0.0), jnp.ones_like(out)


def point_cloud(x, y, *, epsilon, cost_fn, dense_entries: int):
    """A dense point cloud where the cost matrix is small, else a blocked one."""
    if x.shape[0] * y.shape[0] <= dense_entries:
        return pointcloud.PointCloud(x, y, epsilon=epsilon, cost_fn=cost_fn)
    return BlockedPointCloud(x, y, epsilon=epsilon, cost_fn=cost_fn, batch_size=dense_entries)
