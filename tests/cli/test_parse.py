"""Arguments and configuration files: what is understood, and what is refused in one line."""

import subprocess
import sys
import time

import pytest

from geojax._core.errors import InputError
from geojax.cli.options import COMMANDS, SYNONYMS, Apply, Match, Train
from geojax.cli.parse import option_names, parse

MATCH = ["match", "a.csv", "b.csv", "--out", "run"]


def test_options_are_typed():
    command, options = parse([*MATCH, "--scale", "1", "2.5", "--num-steps", "12", "--x64"])
    assert command == "match"
    assert isinstance(options, Match)
    assert options.scale == (1.0, 2.5)
    assert options.num_steps == 12
    assert options.x64
    assert not options.overwrite
    assert isinstance(parse(["apply", "run", "p.ply", "--inverse"])[1], Apply)
    assert parse(["train", "--out", "run", "--seeds", "0", "1"])[1].seeds == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mtach"], r"unknown command 'mtach'; did you mean 'match'\?"),
        (["banana"], r"unknown command 'banana'; use one of demo, match"),
        ([*MATCH, "--sigam", "3"], r"unknown option --sigam of geojax match; did you mean --scale"),
        ([*MATCH, "--weiht", "3"], r"unknown option --weiht .*; did you mean --weight\?"),
        ([*MATCH, "--num_step=3"], r"unknown option --num-step .*; did you mean --num-steps\?"),
        ([*MATCH, "--zzz"], r"unknown option --zzz of geojax match; see geojax match --help"),
        (MATCH[:3], r"Missing from geojax match: --out"),
        (["match", "a.csv", "--out", "run"], r"Missing from geojax match: TARGET"),
        ([*MATCH, "c.csv"], r"Unrecognized options: c\.csv; see geojax match --help"),
        ([*MATCH, "--num-steps", "3.5"], r"--num-steps: '3\.5' is not a whole number"),
        ([*MATCH, "--scale", "x"], r"--scale: 'x' is not a number"),
        ([*MATCH, "--kernel", "foo"], r"invalid choice 'foo' for argument '--kernel'\. Expected"),
        (["doctor", "--config", "x.toml"], r"unknown option --config of geojax doctor"),
        (["--x64", "match"], r"--x64: options come after the command"),
        ([*MATCH, "--scale", "1", "x"], r"--scale: 'x' is not a number"),
        (
            [],
            r"Expected one of \{demo, match, apply, quality, atlas, regress, transport, train,",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)


def test_every_synonym_leads_to_an_option():
    known = {name for command in COMMANDS for name in option_names(command)}
    assert {word: name for word, name in SYNONYMS.items() if name not in known} == {}


def config(tmp_path, text: str | bytes) -> list[str]:
    path = tmp_path / "match.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ["match", "--config", str(path)]


def test_configuration_gives_what_the_command_line_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        'source = "a.csv"\ntarget = "b.csv"\nout = "runs/1"\nscale = [1, 2.5]\nnum-steps = 7\n'
        'kernel = "cauchy"\nweight = 3\nx64 = true\n'
    )
    options = parse([*config(tmp_path, text), "--num-steps", "9"])[1]
    assert isinstance(options, Match)
    assert (options.source, options.target, options.out) == ("a.csv", "b.csv", "runs/1")
    assert options.scale == (1.0, 2.5)
    assert options.num_steps == 9
    assert options.kernel == "cauchy"
    assert options.weight == 3.0
    assert isinstance(options.weight, float)
    assert options.x64


def test_configuration_may_leave_out_what_is_required(tmp_path):
    options = parse(
        ["match", "a.csv", "b.csv", *config(tmp_path, "scale = 2.0\n")[1:], "--out", "r"]
    )
    assert isinstance(options[1], Match)
    assert options[1].scale == (2.0,)
    with pytest.raises(InputError, match="Missing from geojax match: SOURCE"):
        parse(config(tmp_path, "scale = 2.0\n"))


def test_numbers_in_quotes_are_taken_and_named(tmp_path):
    arguments = ["match", "a", "b", "--out", "r", *config(tmp_path, 'weight = "1e-3"\n')[1:]]
    with pytest.warns(UserWarning, match=r"key 'weight': the text '1e-3' is taken for the number"):
        options = parse(arguments)[1]
    assert isinstance(options, Match)
    assert options.weight == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigam = 1.0\n", r"unknown key 'sigam'; did you mean 'scale'\?"),
        ("weiht = 1.0\n", r"unknown key 'weiht'; did you mean 'weight'\?"),
        ("zzz = 1.0\n", r"unknown key 'zzz'; use one of "),
        ("weight = 1\nweight = 2\n", r"line 2, column \d+"),
        ("num-steps = 1\nnum_steps = 2\n", r"key 'num_steps' occurs twice; keep one"),
        ("weight = nan\n", r"key 'weight': nan is not finite"),
        ("weight = -inf\n", r"key 'weight': -inf is not finite"),
        ('weight = "nan"\n', r"key 'weight': nan is not finite"),
        ("weight = true\n", r"key 'weight': True is not a number"),
        ("num-steps = 2.5\n", r"key 'num-steps': 2\.5 is not a whole number"),
        ('num-steps = "two"\n', r"key 'num-steps': 'two' is not a whole number"),
        ("x64 = 1\n", r"key 'x64': 1 is not true or false"),
        ("out = 3\n", r"key 'out': 3 is not text; put it in quotes"),
        (
            'kernel = "gaussia"\n',
            r"key 'kernel': 'gaussia' is unknown; did you mean 'gaussian'\?",
        ),
        ("kernel = 3\n", r"key 'kernel': 3 is unknown; use one of gaussian"),
        ("scale = [1, true]\n", r"key 'scale': True is not a number"),
        ('out = "../../etc"\n', r"key 'out': '\.\./\.\./etc' leads out of"),
        ('out = "/etc"\n', r"key 'out': '/etc' is absolute"),
        ('out = "a\\u0000b"\n', r"control character"),
        ('out = "NUL"\n', r"'NUL' is a reserved name"),
        ("debug = true\n", r"key 'debug': give it on the command line, as --debug"),
        ("[match]\nweight = 1\n", r"unknown key 'match'"),
        ("weight 1\n", r"line 1.*; correct the TOML"),
        (b"weight = 1 # \xe9\n", r"line 1 is not UTF-8"),
        ("# " + "x" * (1 << 20), r"has 1,048,578 bytes"),
    ],
)
def test_bad_configuration_is_refused_in_one_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        parse(config(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "match.toml" in str(caught.value)


def test_configuration_that_is_not_there():
    with pytest.raises(InputError, match=r"no\.toml: no such file"):
        parse(["train", "--config", "no.toml"])


def test_help_is_quick_and_loads_nothing_heavy():
    """Under a second, and neither JAX nor NumPy: they are needed to compute, not to explain."""
    code = (
        "import sys\nfrom geojax.cli import main\ncode = main(['match', '--help'])\n"
        "heavy = {'jax', 'jaxlib', 'numpy', 'scipy', 'matplotlib', 'equinox'} & set(sys.modules)\n"
        "print(code, sorted(heavy), file=sys.stderr)\n"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        times.append(time.perf_counter() - start)
    assert done.stderr.strip() == "0 []"
    assert "usage: geojax match" in done.stdout
    assert min(times) < 1.0


def test_train_options():
    options = parse(["train", "--out", "r", "--energy-weight", "0.1", "--no-twin"])[1]
    assert isinstance(options, Train)
    assert options.no_twin
    assert options.energy_weight == 0.1
