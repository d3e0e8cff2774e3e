"""The house itself: what is imported when, what is committed, and that public names exist."""

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import geojax

# Libraries that take long to import; none is needed to print a help text.
HEAVY = {"jax", "equinox", "diffrax", "optimistix", "flax", "ott", "scipy", "sklearn", "matplotlib"}


def imported_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    show = "\nimport sys\nprint('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + show], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_geojax_loads_nothing_heavy():
    assert imported_by("import geojax; dir(geojax)").isdisjoint(HEAVY)


def test_help_loads_nothing_heavy():
    show_help = """
        import sys
        from geojax.cli import main
        sys.argv = ["geojax", "--help"]
        try:
            sys.exit(main())
        except SystemExit as stopped:
            assert not stopped.code, stopped.code
    """
    assert imported_by(textwrap.dedent(show_help)).isdisjoint(HEAVY)


def test_errors_load_nothing_heavy():
    assert imported_by("import geojax._core.errors").isdisjoint(HEAVY)


def test_the_import_probe_sees_a_heavy_import():
    assert "jax" in imported_by("import geojax.kernels")


def test_version_is_the_distributions():
    assert geojax.__version__ == importlib.metadata.version("geojax-engine")


@pytest.mark.parametrize("name", sorted(geojax.SUBPACKAGES | set(geojax.VERBS)))
def test_public_name_resolves(name):
    value = getattr(geojax, name)
    if name in geojax.VERBS:
        assert callable(value)
        assert value is getattr(importlib.import_module(f"geojax.{geojax.VERBS[name]}"), name)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'shot'"):
        geojax.shot  # noqa: B018


def test_no_verb_is_hidden_by_a_subpackage():
    modules = {module.name for module in pkgutil.iter_modules(geojax.__path__)}
    assert modules.isdisjoint(geojax.VERBS)


def test_type_checkers_see_the_same_names(root: Path):
    tree = ast.parse((root / "geojax/__init__.py").read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("geojax"):
            for alias in node.names:
                assert alias.name == alias.asname, f"write `{alias.name} as {alias.name}`"
                seen[alias.name] = node.module.removeprefix("geojax").lstrip(".")
    assert seen == dict.fromkeys(geojax.SUBPACKAGES, "") | geojax.VERBS


def test_every_module_imports():
    names = [
        m.name
        for m in pkgutil.walk_packages(geojax.__path__, "geojax.")
        if "__main__" not in m.name
    ]
    assert names
    for name in names:
        importlib.import_module(name)


def test_files_are_short(root: Path):
    lengths = {path: len(path.read_text().splitlines()) for path in (root / "geojax").rglob("*.py")}
    assert lengths
    assert {path.name: length for path, length in lengths.items() if length > 400} == {}


def test_references_and_bibliography_agree(root: Path):
    keys = set(re.findall(r"^@\w+\{([^,]+),", (root / "docs/references.bib").read_text(), re.M))
    assert keys
    cited = {
        key: path.name
        for folder in ("geojax", "docs", "tests", "experiments")
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".md")
        for key in re.findall(r"\[([a-z]+\d{4}[a-z]*)\]", path.read_text())
    }
    assert {key: where for key, where in cited.items() if key not in keys} == {}
    assert keys - set(cited) == set()


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_between_pages_lead_somewhere(root: Path):
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", page.read_text())
        if not (page.parent / target).exists()
        or (anchor and anchor not in anchors(page.parent / target))
    ]
    assert broken == []


class TestRequirements:
    """The hashed files install what pyproject.toml asks for, from wherever pip is told to look."""

    @pytest.fixture(params=["run.txt", "test.txt"])
    def lines(self, request, root: Path) -> list[str]:
        return (root / "requirements" / request.param).read_text().splitlines()

    def test_no_addresses(self, lines):
        assert [line for line in lines if "://" in line or "index-url" in line] == []

    def test_header_names_the_target_alone(self, lines):
        assert [line.strip("# ") for line in lines if line.startswith("#")][1:] == ["make lock"]

    def test_every_pin_has_hashes(self, lines):
        text = "\n".join(lines).replace("\\\n", " ")
        pins = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert pins
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []

    def test_no_torch(self, lines):
        assert [line for line in lines if line.startswith(("torch", "nvidia"))] == []

    def test_direct_dependencies_are_pinned(self, lines, root: Path):
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        asked = {re.split(r"[<>=\[]", entry)[0] for entry in project["dependencies"]}
        assert asked <= {line.partition("==")[0] for line in lines}


class TestStrictness:
    """The tests run as strictly as tests/conftest.py says."""

    def test_dtypes_are_not_promoted(self):
        with pytest.raises(ValueError, match="implicit dtype promotion"):
            jnp.ones(3, jnp.float32) + jnp.ones(3, jnp.float64)

    def test_ranks_are_not_promoted(self):
        with pytest.raises(ValueError, match="rank_promotion"):
            jnp.ones((3, 3)) + jnp.ones(3)

    @pytest.mark.lenient
    def test_lenient_promotes(self):
        assert (jnp.ones((3, 3), jnp.float32) + jnp.ones(3)).dtype == jnp.float64

    def test_shapes_are_checked_at_run_time(self, key):
        points = jax.random.normal(key, (4, 2))
        with pytest.raises(TypeCheckError):
            geojax.kernels.kernel_sum(geojax.kernels.Gaussian(1.0), points, points[:, :1], points)

    def test_keys_differ_and_are_the_same_on_every_run(self, key, getkey):
        first, second = getkey(), getkey()
        assert key != first
        assert first != second
        assert int(jax.random.bits(key)) == 13344774402590573558
