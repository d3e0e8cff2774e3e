import pytest

from geojax._core.errors import InputError
from geojax._core.roles import Role, roles
from geojax.sweeps import Range, Sweep, read_sweep
from geojax.sweeps.definition import from_dict
from geojax.training import TrainConfig
from tests.sweeps.throws import throw


def refused(match, **options):
    with pytest.raises(InputError, match=match):
        Sweep(task=throw, **options)


class TestRoles:
    def test_of_the_training_of_the_digits(self):
        found = roles(TrainConfig)
        assert found["learning_rate"] is found["seed"] is Role.traced
        assert found["widths"] is found["epochs"] is Role.static
        assert set(found) == set(TrainConfig.__dataclass_fields__)


class TestDesigns:
    def test_a_grid_takes_all_combinations(self):
        rows = Sweep(task=throw, axes={"angle": [0.1, 0.2], "power": [1, 2, 3]}).rows()
        assert len(rows) == 6
        assert {(row["angle"], row["power"]) for row in rows} == {
            (a, p) for a in (0.1, 0.2) for p in (1, 2, 3)
        }

    def test_a_grid_on_a_log_scale_has_equal_ratios_and_its_ends(self):
        axis = {"low": 1e-3, "high": 1e-1, "num": 3, "scale": "log"}
        values = [row["angle"] for row in Sweep(task=throw, axes={"angle": axis}).rows()]
        assert values[0] == 1e-3
        assert values[-1] == 1e-1
        assert values[1] == pytest.approx(1e-2)

    def test_whole_numbers_need_no_number_of_them(self):
        rows = Sweep(task=throw, axes={"seed": {"low": 2, "high": 5}}).rows()
        assert [row["seed"] for row in rows] == [2, 3, 4, 5]

    @pytest.mark.parametrize("design", ["random", "sobol"])
    def test_draws_fill_ranges_and_lists(self, design):
        axes = {"angle": Range(0.0, 1.0), "seed": Range(0, 3), "power": [1, 2]}
        options = {"task": throw, "axes": axes, "design": design, "num_points": 64}
        rows = Sweep(**options).rows()
        assert len(rows) == 64
        for quarter in range(4):
            share = sum(quarter <= 4 * row["angle"] < quarter + 1 for row in rows) / 64
            assert share == 0.25 if design == "sobol" else 0.05 < share < 0.5
        assert {row["seed"] for row in rows} == {0, 1, 2, 3}
        assert {row["power"] for row in rows} == {1, 2}
        assert rows == Sweep(**options).rows()
        assert rows != Sweep(**options, seed=1).rows()

    def test_points_of_a_list(self):
        points = ({"angle": 0.3}, {"power": 2})
        assert Sweep(task=throw, points=points).rows() == [{"angle": 0.3}, {"power": 2}]


class TestRefusals:
    def test_fields(self):
        refused("axes: unknown field 'angel'.*'angle'", axes={"angel": [1.0]})
        refused("is swept and fixed", axes={"angle": [0.1, 0.2]}, fixed={"angle": 0.1})
        refused("not a whole number", axes={"power": [1.5, 2]})
        refused("not finite", axes={"angle": [0.1, float("nan")]})
        refused("not a number", fixed={"angle": True}, axes={"power": [1, 2]})

    def test_axes(self):
        refused("is empty", axes={"angle": []})
        refused("0.1 is there twice", axes={"angle": [0.1, 0.1]})
        refused("needs num", axes={"angle": {"low": 0.0, "high": 1.0}})
        refused("is not below", axes={"angle": {"low": 1.0, "high": 1.0, "num": 2}})
        refused("log scale", axes={"angle": {"low": 0.0, "high": 1.0, "num": 2, "scale": "log"}})
        refused("unknown key 'hihg'.*'high'", axes={"angle": {"low": 0.0, "hihg": 1.0}})
        refused("belongs under fixed", axes={"angle": 0.1})
        refused("there are none", axes={})

    def test_one_value_is_a_warning(self):
        with pytest.warns(UserWarning, match="could stand under fixed"):
            Sweep(task=throw, axes={"angle": [0.1]})

    def test_designs(self):
        refused("needs it", axes={"angle": Range(0.0, 1.0)}, design="random")
        refused("leave it out", axes={"angle": [0.1, 0.2]}, num_points=3)
        refused("'sobl' is unknown.*'sobol'", axes={"angle": [0.1, 0.2]}, design="sobl")
        refused("has no axes", axes={"angle": [0.1, 0.2]}, points=({"angle": 0.3},))
        refused("needs maximise", axes={"angle": [0.1, 0.2]}, objective="noise")

    def test_a_space_that_cannot_be_meant(self):
        axes = {"seed": Range(0, 99_999), "angle": Range(0.0, 1.0, 1000)}
        refused("100,000,000 points", axes=axes)


class TestFiles:
    def write(self, tmp_path, text):
        path = tmp_path / "one.toml"
        path.write_text(text)
        return path

    def test_a_definition_comes_back(self, tmp_path):
        text = 'task = "tests.sweeps.throws:throw"\nseed = 3\n[axes]\npower = [1, 2]\n'
        text += 'angle = {low = 0.1, high = 1, num = 3, scale = "log"}\n[fixed]\nspeed = 2\n'
        sweep = read_sweep(self.write(tmp_path, text + "[halving]\nfactor = 2\n"))
        assert from_dict(sweep.to_dict()) == sweep
        assert sweep.fixed == {"speed": 2.0}
        assert sweep.halving.factor == 2

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ('task = "densty"', "'densty' is unknown.*'density'"),
            ('tsk = "density"', "unknown key 'tsk'.*'task'"),
            ("seed = 0", "has no task"),
            ('task = "density"\nseed = 0\nseed = 1', "occurs twice"),
            ('task = "density"\n[axes]\nlearning_rat = [1e-3]', "learning_rate"),
            ('task = "density"\nhalving = 3', "no table"),
            ('task = {name = "density", dat = "x"}', "unknown field 'dat'.*'data'"),
            ('task = {name = "density", data = "missing.csv"}', "no such file"),
            ('task = "tests.sweeps.throws:nothing"', "is no task"),
            ('task = "no_such_module:task"', "no_such_module"),
            ('task = "missing.py:task"', "no such file"),
            ('task = "density"\npoints = [1]', "point 0 is 1"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, match):
        with pytest.raises(InputError, match=match):
            read_sweep(self.write(tmp_path, text + "\n"))
