"""All launchers give the table that the launcher in process gives, whatever happens to workers."""

import contextlib
import gc
import secrets
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from geojax._core.errors import DeviceError, InputError
from geojax.sweeps import (
    FunctionTask,
    InProcess,
    Preempted,
    Processes,
    Ray,
    Slurm,
    Sweep,
    plan,
    sweep,
    worker,
)
from geojax.sweeps.definition import from_dict
from geojax.sweeps.launch import Job, order_of, plan_of, report_of
from geojax.sweeps.remote import MAX_FAILED_STARTS, Starts
from geojax.sweeps.slurm import Clerk, _take
from geojax.sweeps.trials import Chunk
from geojax.sweeps.worker import run_order

# The fate of a point: what it does to the process that it runs in.
WELL, DIES_ONCE, DIES, SLOW, PREEMPTED_ONCE, WAITS, HANGS = map(float, range(7))
TASK = """
import dataclasses, os, signal, time
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from geojax.sweeps import FunctionTask, Traced

@dataclasses.dataclass(frozen=True)
class Throw:
    angle: Traced[float] = 0.5
    fate: Traced[float] = 0.0

here = Path(__file__).parent

def meet(fate):
    (here / f"seen-{os.getppid()}").touch()
    first = not (here / f"met-{int(fate)}").exists()
    (here / f"met-{int(fate)}").touch()
    if fate == 2.0 or (fate == 1.0 and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == 4.0 and first:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(1.0)
    if fate == 3.0:
        time.sleep(0.2)
    if fate == 6.0:
        time.sleep(600)
    if fate == 5.0:
        until = time.monotonic() + 120
        while len(list(here.glob("seen-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
    return np.zeros_like(fate)

def throw(config, key):
    like = jax.ShapeDtypeStruct((), config.fate.dtype)
    nought = jax.pure_callback(meet, like, config.fate, vmap_method="sequential")
    return {"reach": jnp.sin(2.0 * config.angle) + nought, "draw": jax.random.uniform(key)}

task = FunctionTask(function=throw, config=Throw, objective="reach", maximise=True)
"""
# one for the process, which Ray reads once
TOKEN = secrets.token_hex(32)
ANGLES = [0.1 * k for k in range(6)]


def in_process(folder: Path):
    return InProcess()


def processes(folder: Path):
    return Processes(workers=1)


def ray(folder: Path):
    pytest.importorskip("ray")
    return Ray(address="local", workers=1)


def slurm(folder: Path):
    pytest.importorskip("submitit")
    return Slurm(folder / "logs", cluster="local", workers=1)


# Ray and submitit do not wait for what they start; a cluster in a test is begun by a fork
CARELESS = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning"),
]
SLOW_ONES = [pytest.param(make, marks=[pytest.mark.slow, *CARELESS]) for make in (ray, slurm)]
ELSEWHERE = [processes, *SLOW_ONES]


@pytest.fixture(autouse=True)
def token_of_ray(monkeypatch):
    """A token of its own, so that Ray leaves none in the home folder."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    yield
    if "ray" in sys.modules:
        gc.collect()  # what it leaves behind is found here, not in another test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "points.py").write_text(TASK)
    return tmp_path


def definition(folder: Path, fates: dict[int, float], angles=ANGLES) -> Sweep:
    """A sweep over the angles, some of which have a fate."""
    points = [{"angle": a, "fate": fates.get(k, WELL)} for k, a in enumerate(angles)]
    return from_dict({"task": "points.py:task", "points": points, "x64": True}, folder=folder)


def table(results) -> dict[str, dict]:
    """Trial -> what does not depend on where and when it ran."""
    rows = results.table("SELECT * FROM rows")
    found = {row["trial"]: row for row in rows}
    assert len(found) == len(rows)
    return {
        name: {key: row[key] for key in ("angle", "fate", "status", "reach", "draw")}
        for name, row in found.items()
    }


def expected(asked: Sweep, folder: Path) -> dict[str, dict]:
    """The table in process, where points that end their process have met their fate already."""
    for fate in (DIES_ONCE, PREEMPTED_ONCE):
        (folder / f"met-{int(fate)}").touch()
    found = table(sweep(asked, folder / "reference", lanes=2))
    for mark in folder.glob("met-*"):
        mark.unlink()
    for mark in folder.glob("seen-*"):
        mark.unlink()
    return found


def assert_same(found: dict[str, dict], reference: dict[str, dict]) -> None:
    assert found.keys() == reference.keys()
    for name, row in reference.items():
        assert found[name]["status"] == row["status"] == "ok"
        for key in ("reach", "draw"):
            np.testing.assert_allclose(found[name][key], row[key], rtol=1e-12, err_msg=name)


def test_in_process_gives_the_closed_form(folder):
    found = table(sweep(definition(folder, {}), folder / "out", launcher=InProcess(), lanes=2))
    assert len(found) == len(ANGLES)
    for row in found.values():
        np.testing.assert_allclose(row["reach"], np.sin(2 * row["angle"]), atol=1e-12)
    assert len({row["draw"] for row in found.values()}) == len(ANGLES)


@pytest.mark.parametrize("make", ELSEWHERE)
def test_a_killed_worker_changes_nothing(make, folder):
    asked = definition(folder, {2: DIES_ONCE})
    reference = expected(asked, folder)
    with pytest.warns(UserWarning, match="runs again"):
        results = sweep(asked, folder / "out", launcher=make(folder), lanes=2)
    assert (folder / "met-1").exists()
    assert_same(table(results), reference)


@pytest.mark.slow
@pytest.mark.parametrize("make", ELSEWHERE)
def test_a_point_that_always_kills_is_given_up_and_the_others_complete(make, folder):
    asked = definition(folder, {1: DIES}, ANGLES[:3])
    with pytest.warns(UserWarning, match="runs again"):
        results = sweep(asked, folder / "out", launcher=make(folder), lanes=1)
    rows = {row["fate"]: row for row in results.table()}
    assert rows[DIES]["status"] == "poison"
    assert "died 3 times" in rows[DIES]["reason"]
    assert [row["status"] for row in results.table("SELECT * FROM trials WHERE fate = 0")] == [
        "ok",
        "ok",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("make", ELSEWHERE)
def test_a_point_that_hangs_is_given_up_and_the_others_complete(make, folder):
    asked = definition(folder, {1: HANGS}, ANGLES[:3])
    with pytest.warns(UserWarning, match="runs again"):
        results = sweep(asked, folder / "out", launcher=make(folder), lanes=1, time_limit=10.0)
    rows = {row["fate"]: row for row in results.table()}
    assert rows[HANGS]["status"] == "poison"
    assert "took longer than 10 s" in rows[HANGS]["reason"]
    assert results.status()["by_status"] == {"ok": 2, "poison": 1}


@pytest.mark.slow
@pytest.mark.parametrize("make", ELSEWHERE)
def test_a_plan_is_made_where_the_points_run(make, folder):
    asked, launcher = definition(folder, {}), make(folder)
    before = sorted(folder.iterdir())
    found = plan(asked, folder, launcher=launcher, lanes=2)
    assert (found.trials, found.chunks, found.num_workers) == (6, 3, 1)
    assert found.seconds > 0
    left = [path.name for path in sorted(folder.iterdir()) if path not in before]
    assert {name for name in left if not name.startswith(("seen", "met"))} <= {"logs"}


@pytest.mark.parametrize(
    "make", [in_process, pytest.param(processes, marks=pytest.mark.slow), *SLOW_ONES]
)
def test_sigterm_ends_it_cleanly_and_the_same_call_goes_on(make, folder):
    asked = definition(folder, dict.fromkeys(range(4), SLOW), ANGLES[:4])
    reference = expected(asked, folder)
    asked_once = []

    def ask(text: str) -> None:
        if text.startswith("1 of") and not asked_once:
            asked_once.append(text)
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="goes on from here"):
        sweep(asked, folder / "out", launcher=make(folder), lanes=1, progress=ask)
    assert signal.getsignal(signal.SIGTERM) is before
    done = len(list((folder / "out" / "parts").glob("*.parquet")))
    assert 1 <= done < 4
    results = sweep(asked, folder / "out", launcher=make(folder), lanes=1)
    assert_same(table(results), reference)
    attempts = [path.name for path in (folder / "out" / "attempts").glob("*/*")]
    assert all(name.endswith("forgiven") for name in attempts)  # none was killed


@pytest.mark.parametrize("make", [processes, ray, slurm])
def test_a_task_without_a_name_is_refused_before_anything_is_written(make, folder):
    named = definition(folder, {}).task
    nameless = FunctionTask(function=named.function, config=named.config, objective="reach")
    asked = Sweep(task=nameless, axes={"angle": ANGLES})
    with pytest.raises(InputError, match="known to this process alone"):
        sweep(asked, folder / "out", launcher=make(folder))
    assert not (folder / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")
def test_two_nodes_of_ray_one_worker_killed_and_one_node_removed(folder):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    fates = dict.fromkeys(range(24), SLOW) | {0: WAITS, 1: WAITS, 18: DIES_ONCE}
    asked = definition(folder, fates, [0.05 * k for k in range(24)])
    (folder / "seen-0").touch()
    (folder / "seen-1").touch()
    reference = expected(asked, folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        removed = []

        def look(text: str) -> None:
            if " chunks" in text and not removed and len(list(folder.glob("seen-*"))) == 2:
                removed.append(text)
                cluster.remove_node(second, allow_graceful=False)

        launcher = Ray(address=cluster.address)
        with pytest.warns(UserWarning, match="runs again") as told:
            results = sweep(asked, folder / "out", launcher=launcher, lanes=1, progress=look)
    finally:
        cluster.shutdown()
    assert removed
    assert (folder / "met-1").exists()
    assert sum("runs again" in str(warning.message) for warning in told) >= 2
    assert_same(table(results), reference)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_preempted_job_is_queued_again_and_goes_on(folder):
    pytest.importorskip("submitit")
    asked = definition(folder, {2: PREEMPTED_ONCE})
    reference = expected(asked, folder)
    # a warning that a chunk runs again would be an error here
    results = sweep(asked, folder / "out", launcher=slurm(folder), lanes=2)
    assert (folder / f"met-{int(PREEMPTED_ONCE)}").exists()
    said = "".join(path.read_text() for path in (folder / "logs").glob("*_log.err"))
    assert "preempted" in said
    assert_same(table(results), reference)


class Slain(BaseException):
    """What ends a job here."""


class Jobs:
    """An executor of submitit whose jobs are threads; the first of them may end at once."""

    def __init__(self, ends):
        self.ends, self.made = list(ends), []

    def map_array(self, clerk, desks, idles):
        return [self.job(clerk, desk, idle) for desk, idle in zip(desks, idles, strict=True)]

    def job(self, clerk, desk, idle):
        name = str(len(self.made))
        at_once = bool(self.ends and self.ends.pop(0))

        def work() -> None:
            with contextlib.suppress(Slain):
                if not at_once:
                    clerk(desk, idle)

        # a job learns its own name from its environment: here, from its thread
        thread = threading.Thread(target=work, name=name)
        thread.start()
        job = SimpleNamespace(
            job_id=name,
            done=lambda: not thread.is_alive(),
            stderr=lambda: "first\nslain by a test\n",
            state="FAILED",
            cancel=lambda check: None,
        )
        self.made.append(thread)
        return job


@pytest.fixture
def jobs(monkeypatch, folder):
    """Run jobs as threads: ends of the first of them -> launcher."""
    submitit = pytest.importorskip("submitit")
    here = lambda: SimpleNamespace(job_id=threading.current_thread().name)  # noqa: E731
    monkeypatch.setattr(submitit, "JobEnvironment", here)

    def make(*ends: str) -> Slurm:
        launcher = slurm(folder)
        executor = Jobs(ends)
        monkeypatch.setattr(launcher, "_made", lambda: executor)
        return launcher

    return make


def test_a_job_takes_all_orders_and_its_desk_is_cleared(jobs, folder):
    asked = definition(folder, {})
    launcher = jobs()
    results = sweep(asked, folder / "out", launcher=launcher, lanes=2)
    assert_same(table(results), expected(asked, folder))
    assert list((folder / "logs").glob("desk-*")) == []


@pytest.fixture
def deadly(monkeypatch):
    """Let the first job that gets an order of a kind end with it at hand."""

    def make(kind: str) -> None:
        def run(order):
            if kind in order:
                monkeypatch.setattr(worker, "run_order", run_order)
                raise Slain
            return run_order(order)

        monkeypatch.setattr(worker, "run_order", run)

    return make


def test_what_a_dead_job_had_taken_is_given_out_again(jobs, deadly, folder):
    asked = definition(folder, {})
    reference = expected(asked, folder)
    launcher = jobs()
    deadly("chunk")
    with pytest.warns(UserWarning, match="slain by a test; it runs again"):
        results = sweep(asked, folder / "out", launcher=launcher, lanes=2)
    assert_same(table(results), reference)


def test_a_job_that_dies_of_planning_is_replaced(jobs, deadly, folder):
    asked = definition(folder, {})
    reference = expected(asked, folder)
    launcher = jobs()
    deadly("plan")
    with pytest.warns(UserWarning, match="slain by a test; it is tried again"):
        results = sweep(asked, folder / "out", launcher=launcher, lanes=2)
    assert_same(table(results), reference)


def test_jobs_that_never_begin_end_the_sweep(jobs, folder):
    launcher = jobs(*["at once"] * MAX_FAILED_STARTS)
    with pytest.raises(DeviceError, match=r"cannot be started.*slain by a test"):
        sweep(definition(folder, {}), folder / "out", launcher=launcher, lanes=2)
    assert list((folder / "out" / "parts").glob("*.parquet")) == []


def test_sigterm_while_a_program_waits_to_be_planned_ends_it_cleanly(jobs, folder):
    def ask(text: str) -> None:
        if text.startswith("compiling"):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Preempted):
        sweep(definition(folder, {}), folder / "out", launcher=jobs(), lanes=2, progress=ask)
    assert list((folder / "out" / "parts").glob("*.parquet")) == []


def test_two_jobs_never_take_the_same_order(tmp_path):
    for name in ("orders", "taken"):
        (tmp_path / name).mkdir()
    for number in range(40):
        (tmp_path / "orders" / f"{number:08d}.json").write_text("{}")
    taken: dict[str, list[str]] = {"a": [], "b": []}

    def take(name: str) -> None:
        while (found := _take(tmp_path, name)) is not None:
            taken[name].append(found.name.partition(".")[0])
            found.unlink()

    threads = [threading.Thread(target=take, args=(name,)) for name in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["a"] + taken["b"]) == [f"{number:08d}" for number in range(40)]


def test_a_job_goes_on_with_the_order_that_it_had(tmp_path):
    for name in ("orders", "taken"):
        (tmp_path / name).mkdir()
    (tmp_path / "orders" / "00000001.json").write_text("{}")
    (tmp_path / "taken" / "00000002.7_0.json").write_text("{}")
    found = _take(tmp_path, "7_0")
    assert found is not None
    assert found.name == "00000002.7_0.json"
    delayed = Clerk().checkpoint(str(tmp_path), 1.0)
    assert isinstance(delayed.function, Clerk)
    assert delayed.args == (str(tmp_path), 1.0)


class Rayless:
    """A cluster of Ray whose actors are this process; they die where the test says so."""

    class RayError(Exception):
        pass

    class RayActorError(RayError):
        pass

    class OutOfMemoryError(RayError):
        pass

    def __init__(self, dies=lambda number, order: None, **resources: float):
        self.exceptions = self
        self.dies, self.resources = dies, resources or {"CPU": 2.0}
        self.killed: list[int] = []
        self.options: list[dict] = []

    def cluster_resources(self):
        return self.resources

    def remote(self, **options):
        number = len(self.options)
        self.options.append(options)

        def run(order):
            assert number not in self.killed
            error = self.dies(number, order)
            return (error,) if error else (run_order(order), number)

        later = lambda order: lambda: run(order)  # noqa: E731 (done when it is asked for)
        actor = SimpleNamespace(number=number, run=SimpleNamespace(remote=later))
        return lambda kind: SimpleNamespace(remote=lambda: actor)

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def get(self, reference):
        answer = reference()
        if len(answer) == 1:
            raise answer[0]
        return answer[0]

    def kill(self, actor):
        self.killed.append(actor.number)


def ray_on(cluster: Rayless, **options) -> Ray:
    launcher = Ray(**options)
    launcher._ray = cluster
    return launcher


def test_actors_are_kept_and_the_table_is_the_same(folder):
    asked, cluster = definition(folder, {}), Rayless()
    results = sweep(asked, folder / "out", launcher=ray_on(cluster), lanes=2)
    assert_same(table(results), expected(asked, folder))
    assert len(cluster.options) == 2
    assert sorted(cluster.killed) == [0, 1]
    assert all(o["max_restarts"] == o["max_task_retries"] == 0 for o in cluster.options)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Rayless.RayActorError("the node is gone\nand more"), "the node is gone; it runs again"),
        (Rayless.OutOfMemoryError("too much"), "2 lanes need more memory"),
    ],
)
def test_an_actor_that_ends_is_replaced_and_its_chunk_runs_again(folder, error, told):
    asked = definition(folder, {})
    reference = expected(asked, folder)
    cluster = Rayless(lambda number, order: error if number == 1 and "chunk" in order else None)
    with pytest.warns(UserWarning, match=told):
        results = sweep(asked, folder / "out", launcher=ray_on(cluster), lanes=2)
    assert cluster.killed[0] == 1
    assert_same(table(results), reference)


def test_actors_that_never_begin_end_the_sweep(folder):
    cluster = Rayless(lambda number, order: Rayless.RayActorError("no module named geojax"))
    with pytest.raises(DeviceError, match=r"cannot be started \(no module named geojax"):
        sweep(definition(folder, {}), folder / "out", launcher=ray_on(cluster), lanes=2)
    assert len(cluster.options) == MAX_FAILED_STARTS


def test_the_room_of_the_cluster_bounds_the_workers():
    cluster = Rayless(CPU=9.0, GPU=2.0)
    assert ray_on(cluster).num_workers == 2
    assert ray_on(cluster, gpus_per_worker=0.5).num_workers == 4
    assert ray_on(cluster, gpus_per_worker=0, cpus_per_worker=2).num_workers == 4
    assert ray_on(cluster, gpus_per_worker=0, cpus_per_worker=2, workers=3).num_workers == 3
    assert ray_on(cluster, workers=3, resources={"big": 1.0}).num_workers == 3
    assert ray_on(cluster, resources={"big": 1.0}).num_workers == 1
    assert ray_on(Rayless(CPU=3.0)).num_workers == 3


def test_an_actor_has_the_settings_of_the_head_but_for_its_devices(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    for resources, cores in (({"CPU": 4.0}, "3"), ({"CPU": 4.0, "GPU": 1.0}, None)):
        cluster = Rayless(**resources)
        ray_on(cluster, cpus_per_worker=3, resources={"big": 1.0})._start()
        (options,) = cluster.options
        given = options["runtime_env"]["env_vars"]
        assert given["JAX_COMPILATION_CACHE_DIR"] == "/somewhere"
        assert "JAX_PLATFORMS" not in given
        assert given.get("NPROC") == cores
        assert (options["num_cpus"], options["num_gpus"]) == (3.0, resources.get("GPU", 0))
        assert options["resources"] == {"big": 1.0}


def test_a_cluster_without_room_is_told(folder, monkeypatch):
    cluster, looks = Rayless(), []
    monkeypatch.setattr("geojax.sweeps.ray._PATIENCE", 0)

    def wait(references, timeout):
        looks.append(timeout)
        if len(looks) > 2:
            signal.raise_signal(signal.SIGTERM)
        return [], references

    monkeypatch.setattr(cluster, "wait", wait)
    with (
        pytest.warns(UserWarning, match=r"no room for \{'CPU': 1.0\}") as told,
        pytest.raises(Preempted),
    ):
        sweep(definition(folder, {}), folder / "out", launcher=ray_on(cluster), lanes=2)
    assert len(told) == 1


@pytest.mark.parametrize("name", ["ray", "submitit"])
def test_a_library_that_is_missing_is_named(name, folder, monkeypatch):
    launcher = Ray() if name == "ray" else Slurm(folder / "logs", cluster="local")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"pip install 'geojax-engine\["):
        sweep(definition(folder, {}), folder / "out", launcher=launcher, lanes=2)


def test_a_worker_that_does_not_see_the_folder_stops_the_sweep_and_fails_no_trial(folder):
    answer = run_order(order_of(Job(definition(folder, {}), folder / "gone", "t", 1.0)))
    assert "holds no sweep" in answer["unfit"]
    with pytest.raises(DeviceError, match="cannot begin"):
        plan_of(answer)
    with pytest.raises(DeviceError, match="cannot begin"):
        report_of(Chunk("c", "g", (), 1, 1), answer)


@pytest.mark.parametrize("how", ["died", "memory"])
def test_how_a_chunk_was_lost_is_reported(how):
    report = report_of(Chunk("c", "g", (), 1, 1), {how: "it says why"})
    assert report == ("c", how, "it says why")


def test_starts_forgive_what_is_followed_by_a_good_one():
    starts = Starts()
    for _ in range(3):
        for _ in range(MAX_FAILED_STARTS - 1):
            starts.bad("so")
        starts.good()
    for _ in range(MAX_FAILED_STARTS - 1):
        starts.bad("so")
    with pytest.raises(DeviceError, match="geojax is installed"):
        starts.bad("so")


def test_options_that_cannot_be_are_refused(tmp_path):
    for wrong in (-1.0, 1.5):
        with pytest.raises(InputError, match="gpus_per_worker"):
            Ray(gpus_per_worker=wrong)
    for name in ("workers", "cpus_per_worker"):
        with pytest.raises(InputError, match=name):
            Ray(**{name: 0})
    for name in ("workers", "timeout_min", "cpus_per_task"):
        with pytest.raises(InputError, match=name):
            Slurm(tmp_path, **{name: 0})
    with pytest.raises(InputError, match="cluster: 'pbs' is unknown"):
        Slurm(tmp_path, cluster="pbs")
