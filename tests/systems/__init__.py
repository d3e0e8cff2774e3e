"""Systems whose geodesics are known in closed form, and the laws that every geometry obeys."""

import pytest

# The laws assert; without this their failures would show no values.
pytest.register_assert_rewrite("systems.laws")
