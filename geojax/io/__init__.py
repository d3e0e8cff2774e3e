"""Files to points, meshes and images and back, saved arrays with hashes, data without downloads.

Nothing here needs JAX before a curve, a surface or the affine of an image is made: files are read
and checked in NumPy.
"""

from geojax.io.arrays import load_arrays as load_arrays, save_arrays as save_arrays
from geojax.io.datasets import (
    Mesh as Mesh,
    Volume as Volume,
    brain_outlines as brain_outlines,
    brain_surface as brain_surface,
    brain_template as brain_template,
    digits as digits,
    mnist_subset as mnist_subset,
)
from geojax.io.displacements import (
    encode_displacement as encode_displacement,
    read_displacement as read_displacement,
    write_displacement as write_displacement,
)
from geojax.io.files import verify as verify, write_bytes as write_bytes, write_json as write_json
from geojax.io.idx import read_idx as read_idx
from geojax.io.images import (
    ImageFile as ImageFile,
    as_image as as_image,
    encode_image as encode_image,
    is_labels as is_labels,
    read_image as read_image,
    write_image as write_image,
)
from geojax.io.meshes import (
    as_mesh as as_mesh,
    encode_mesh as encode_mesh,
    read_mesh as read_mesh,
    write_mesh as write_mesh,
)
from geojax.io.points import (
    PointFile as PointFile,
    encode_points as encode_points,
    read_points as read_points,
    write_points as write_points,
)
from geojax.io.sections import Curve as Curve, plane_section as plane_section, resample as resample
