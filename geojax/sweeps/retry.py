"""Points that came to nothing, made to run again: a part is replaced by one without their rows."""

import os
import shutil
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path

from geojax.io import files
from geojax.sweeps.store import ATTEMPTS, Store
from geojax.sweeps.tables import copy, cursor, draft, quoted

RETRIED = ("failed", "nonfinite", "poison", "refused")
# Copies of parts that others replace.
REPLACED = "replaced"


def drop_rows(store: Store, statuses: Sequence[str], wanted: Set[str] | None) -> int:
    """Take rows of these statuses out of a store, of which copies are kept; only the head may.

    A kill in between leaves each part as it was, or what `finish` brings to an end.

    Args:
        store: the results.
        statuses: of the rows.
        wanted: trials that will run again: the rows of others stay; None where all will.

    Returns:
        The number of trials.

    Raises:
        StorageError: a part cannot be written.
    """
    marks = ", ".join(f"'{status}'" for status in statuses)
    found: dict[Path, list[str]] = {}
    with cursor() as connection:
        for path in store.whole_parts():
            rows = connection.execute(
                f"SELECT trial FROM read_parquet({quoted(path)}) WHERE status IN ({marks})"
            ).fetchall()
            names = [name for (name,) in rows if wanted is None or name in wanted]
            if names:
                found[path] = names
    if found:
        # first: what has killed its process may do so again
        shutil.rmtree(store.folder / ATTEMPTS, ignore_errors=True)
    for path, names in found.items():
        _replace(store, path, names)
    return len({name for names in found.values() for name in names})


def _replace(store: Store, path: Path, names: Sequence[str]) -> None:
    """A part by one without the rows of some trials; none where no other row is left."""
    folder = store.folder / REPLACED
    with files.storage_errors(folder):
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.name)
        files.sync_folder(folder)
    rest = f"SELECT * FROM read_parquet({quoted(path)}) WHERE NOT list_contains(?, trial)"
    with cursor() as connection, files.storage_errors(path.parent):
        if connection.execute(f"SELECT count(*) FROM ({rest})", [names]).fetchone() != (0,):
            write = partial(copy, connection, f"({rest})", values=[names])
            temporary, name = draft(path.parent, _chunk(path), write)
            os.replace(temporary, path.with_name(name))
            files.sync_folder(path.parent)
        path.unlink()


def finish(store: Store) -> None:
    """Take away parts that a retry has replaced, but was killed before it could; only the head may.

    Raises:
        StorageError: they cannot be taken away.
    """
    for kept in (store.folder / REPLACED).glob("part-*.parquet"):
        old = store.parts / kept.name
        others = set(store.parts.glob(f"part-{_chunk(old)}-*.parquet")) - {old}
        if old.exists() and others:
            with files.storage_errors(old):
                old.unlink()


def _chunk(part: Path) -> str:
    return part.stem.split("-")[1]
