"""The options of `geojax sweep`; read to answer `--help`, like those beside them."""

from dataclasses import dataclass
from typing import Literal

import tyro

from geojax.cli.common_options import Common

Action = Literal["plan", "run", "resume", "status", "leaderboard", "export", "report"]
Retried = Literal["failed", "nonfinite", "poison", "refused"]
Launcher = Literal["local", "processes", "ray", "slurm"]


@dataclass(frozen=True, kw_only=True)
class Sweep(Common):
    """Run many points as lanes of compiled programs, and see what came out.

    plan FILE says how many programs, chunks and lanes there are, and what they take, before
    anything runs. run FILE runs what is not done yet; resume FOLDER goes on without the file.
    status, leaderboard, export and report read a folder, also while it is being run. FILE is TOML:
    the task, its axes, and what is fixed (docs/sweeps.md).
    """

    action: tyro.conf.Positional[Action]
    """What to do."""
    place: tyro.conf.Positional[str]
    """Definition (plan, run) or folder of a sweep (the others)."""
    out: str | None = None
    """Folder for the results of run; the name of the definition without .toml if not given."""
    launcher: Launcher = "local"
    """Where chunks run: on the devices of this process, in processes of their own, on Ray, or on
    Slurm."""
    workers: int | None = None
    """Chunks at the same time, of all launchers but local; one for each GPU, or two, if not
    given."""
    lanes: int | None = None
    """Points in a chunk; as many as the memory holds if not given."""
    checkpoint_seconds: float = 60.0
    """How much work a killed chunk loses at most, of run and resume."""
    time_limit: float | None = None
    """Seconds that a segment, or the compilation of its program, may take before its worker is
    ended; of all launchers but local."""
    retry: tuple[Retried, ...] = ()
    """Points that came to nothing, by their status, to run again."""
    address: str | None = None
    """Of a Ray cluster, such as auto; one on this machine if not given."""
    gpus_per_worker: float | None = None
    """Of Ray (one where the cluster has any; 0.5 for two on each) and of Slurm (none)."""
    cpus_per_worker: int | None = None
    """Cores, of Ray and of Slurm; one if not given."""
    partition: str | None = None
    """Of Slurm."""
    timeout_min: int | None = None
    """Minutes that a job of Slurm may take; 60 if not given."""
    slurm: tuple[str, ...] = ()
    """Further options of Slurm, as submitit names them: slurm_account=mine mem_gb=32."""
    count: int = 10
    """Rows of the leaderboard."""
    by: str | None = None
    """Column that the leaderboard goes by; the objective if not given."""
    maximise: bool = False
    """More of that column is better."""
    to: str | None = None
    """What export writes: a .csv, .parquet or .json file; or mlflow:ADDRESS, tensorboard:FOLDER."""
