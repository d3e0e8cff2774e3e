"""Points that came to nothing, made to run again: a part is replaced by one without their rows."""

import os
import shutil
from collections.abc import Sequence
from functools import partial

from geojax.io import files
from geojax.sweeps.store import ATTEMPTS, Store
from geojax.sweeps.tables import copy, cursor, draft, quoted

RETRIED = ("failed", "nonfinite", "poison", "refused")
# Where parts go that others have replaced.
REPLACED = "replaced"


def drop_rows(store: Store, statuses: Sequence[str]) -> int:
    """Take rows of these statuses out of a store; only the head may.

    What they stood in is kept aside. A kill in between leaves the old part, or both.

    Returns:
        The number of trials.

    Raises:
        StorageError: a part cannot be written.
    """
    wanted = ", ".join(f"'{status}'" for status in statuses)
    folder = store.folder / REPLACED
    trials: set[str] = set()
    for path in store.whole_parts():
        with cursor() as connection:
            table = f"read_parquet({quoted(path)})"
            found = connection.execute(
                f"SELECT trial FROM {table} WHERE status IN ({wanted})"
            ).fetchall()
            if not found:
                continue
            rest = f"SELECT * FROM {table} WHERE status NOT IN ({wanted})"
            if connection.execute(f"SELECT count(*) FROM ({rest})").fetchone() != (0,):
                chunk = path.stem.split("-")[1]
                temporary, name = draft(path.parent, chunk, partial(copy, connection, f"({rest})"))
                os.replace(temporary, path.with_name(name))
        trials.update(name for (name,) in found)
        with files.storage_errors(folder):
            folder.mkdir(exist_ok=True)
            os.replace(path, folder / path.name)
            files.sync_folder(path.parent)
    if trials:
        # what has killed its process may do so again
        shutil.rmtree(store.folder / ATTEMPTS, ignore_errors=True)
    return len(trials)
