"""Run the command in this process, or as a process of its own."""

import html.parser
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from geojax.cli import main


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command line in `tmp_path`, without touching the environment of the other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: object) -> Outcome:
        # Warnings are errors in tests; the command shows them to its user instead.
        with warnings.catch_warnings():
            code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache of compiled programs for all processes of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def new_process(cache):
    """Run a command line as a process of its own, in a given folder."""

    def run(*arguments: object, cwd: Path, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "geojax.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, "GEOJAX_CACHE_DIR": str(cache), **environment},
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def process(new_process, tmp_path):
    """The same in `tmp_path`."""

    def run(*arguments: object, **options) -> Outcome:
        return new_process(*arguments, **{"cwd": tmp_path, **options})

    return run


@pytest.fixture
def tree():
    """Everything below a folder, for showing that nothing was written."""

    def tree(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    return tree


@pytest.fixture
def check_files():
    """The files below a folder are these, with nothing temporary among them."""

    def check(folder: Path, names: list[str]) -> None:
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        assert found == sorted(names)

    return check


class Checker(html.parser.HTMLParser):
    """Collects addresses and tags."""

    def __init__(self):
        super().__init__()
        self.addresses, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [v for k, v in attrs if k.endswith(("src", "href")) and v]


@pytest.fixture
def check_page():
    """A page has no scripts and nothing to fetch."""

    def check(text: str) -> None:
        checker = Checker()
        checker.feed(text)
        assert [a for a in checker.addresses if not a.startswith(("data:", "#"))] == []
        assert "script" not in checker.tags
        assert "svg" in checker.tags

    return check
