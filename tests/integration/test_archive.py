"""Many processes and many calls: nothing lost, nothing twice, whoever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from deadly import begun, make_bundle

from spine_monai.data import write_datalist
from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11

COMMAND = [sys.executable, "-m", "spine_monai.cli", "localize"]
TESTS = Path(__file__).parents[1]
PATIENCE_S = 300.0  # of a busy machine


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Let all processes compute on one thread, for another number of them rounds otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Twelve small phantoms as DICOM, and a datalist of them."""
    folder = tmp_path_factory.mktemp("studies")
    items = []
    for seed in range(12):
        study = make_study(shape=(48, 40, 3), spacing_mm=(5.6, 4.8, 4.0), seed=seed)
        study.write_dicom(folder / str(seed), seed=str(seed))
        items.append({"id": f"case-{seed:02}", "image": str(folder / str(seed))})
    write_datalist(items, folder / "studies.json", LUMBAR11.name, section="testing")
    return folder / "studies.json"


@pytest.fixture(scope="module")
def first_four(studies):
    content = json.loads(studies.read_text())
    file = studies.with_name("four.json")
    file.write_text(json.dumps(content | {"testing": content["testing"][:4]}))
    return file


@pytest.fixture(scope="module")
def quick(bundle, tmp_path_factory):
    """A bundle of tiny networks, always the same."""
    torch.manual_seed(21)
    return make_bundle(bundle, tmp_path_factory.mktemp("quick") / "bundle")


@pytest.fixture
def hazardous(quick, tmp_path):
    """The same bundle with a preprocessing that is slow or deadly."""

    def of(**hazard):
        copy = shutil.copytree(quick, tmp_path / "hazardous", dirs_exist_ok=True)
        (copy / "begun.txt").unlink(missing_ok=True)
        file = copy / "configs" / "inference.yaml"
        config = yaml.safe_load(file.read_text())
        config["preprocessing_steps"][0] |= {"log": str(copy / "begun.txt"), **hazard}
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        return copy

    return of


@pytest.fixture
def start():
    """Start the command as a process of its own; none outlives the test."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    started = []

    def call(*arguments):
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, what):
    limit = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < limit, what
        time.sleep(0.02)
    return found


def processes_with(words, parent=None):
    """Living processes whose command line holds some words, of one parent or of any."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if words in command and fields[0] != "Z" and parent in (None, int(fields[1])):
            found.append(int(folder.name))
    return found


def workers_of(process):
    return processes_with("spine_monai.workflows.worker", process.pid)


def table(folder):
    return (folder / "landmarks.csv").read_text()


def report(folder):
    return json.loads((folder / "report.json").read_text())


def manifest(folder):
    lines = [
        json.loads(line)
        for file in sorted(folder.glob("manifest-*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    return [line for line in lines if "id" in line]


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name != ".tries"]


@pytest.fixture(scope="module")
def expected(studies, quick, tmp_path_factory):
    """What one process makes of all studies."""
    from spine_monai.workflows import localize

    out = tmp_path_factory.mktemp("expected")
    assert not localize([studies], out, bundle=quick, device="cpu").failed
    return out


def test_two_workers_give_what_one_process_gives_though_one_is_killed(
    start, studies, hazardous, expected, tmp_path
):
    """By a real SIGKILL, while it works on a case, which costs that case one try."""
    bundle, out = hazardous(seconds=0.3), tmp_path / "out"
    process = start(studies, "--out", out, "--bundle", bundle, "--workers", 2)
    wait_for(lambda: begun(bundle), "no case was begun")
    os.kill(workers_of(process)[0], signal.SIGKILL)
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "12 cases: 12 done" in said
    assert "case case-07: series 1" in errors
    assert table(out) == table(expected)
    ids = [case["case"] for case in report(out)["cases"]]
    assert ids == [case["case"] for case in report(expected)["cases"]]
    assert len(begun(bundle)) == 12 + errors.count("its worker ended (SIGKILL)")
    assert not leftovers(out)
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("report.json", "landmarks.csv")
    }


@pytest.mark.heavy
def test_a_case_that_kills_three_workers_fails_and_the_others_are_done(
    run, first_four, hazardous, tmp_path
):
    bundle, out = hazardous(deadly=["case-01"]), tmp_path / "out"
    code, said = run("localize", first_four, "--out", out, "--bundle", bundle, "--workers", 2)
    assert code == 1
    assert "3 done, 1 failed" in said
    assert "case case-01 failed: it killed the process that worked on it 3 times" in said
    assert Counter(begun(bundle))["case-01"] == 3
    assert sorted(path.parent.name for path in out.glob("*/landmarks.json")) == [
        *("case-00", "case-02", "case-03")
    ]


HEAVY = [pytest.param(name, marks=pytest.mark.heavy) for name in ("SIGINT", "SIGUSR1")]


@pytest.mark.parametrize("name", ["SIGTERM", *HEAVY])
def test_an_interrupt_ends_the_workers_and_the_next_call_goes_on(
    run, start, first_four, hazardous, tmp_path, name
):
    bundle, out = hazardous(seconds=1.0), tmp_path / "out"
    process = start(first_four, "--out", out, "--bundle", bundle, "--workers", 2)
    wait_for(lambda: list(out.glob("*/landmarks.json")), "no case was done")
    workers = workers_of(process)
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not leftovers(out)
    done = len(list(out.glob("*/landmarks.json")))
    code, said = run("localize", first_four, "--out", out, "--bundle", bundle)
    assert code == 0
    assert f"{4 - done} done, {done} skipped" in said


@pytest.mark.heavy
def test_workers_end_when_their_owner_is_killed(start, first_four, hazardous, tmp_path):
    bundle, out = hazardous(seconds=0.2), tmp_path / "out"
    process = start(first_four, "--out", out, "--bundle", bundle, "--workers", 2)
    wait_for(lambda: begun(bundle), "no case was begun")
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    gone = lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers)  # noqa: E731
    wait_for(gone, "the workers live on")


def test_what_is_wrong_for_all_workers_ends_the_call(run, first_four, bundle_copy, tmp_path):
    (bundle_copy / "models" / "model.pt").write_bytes(b"no weights")
    words = ["--out", tmp_path / "out", "--bundle", bundle_copy, "--workers", 2]
    code, said = run("localize", first_four, *words)
    assert code == 2
    assert "it is damaged or holds code" in said


@pytest.mark.heavy
def test_a_full_disk_ends_the_call_with_workers_too(run, first_four, quick, tmp_path):
    (tmp_path / "case-02").write_text("in the way of a folder")
    words = ["--out", tmp_path, "--bundle", quick, "--workers", 2]
    assert run("localize", first_four, *words)[0] == 3


@pytest.mark.heavy
def test_workers_that_cannot_live_end_the_call(first_four, quick, tmp_path):
    """As where memory is short; here they find no networks' library."""
    (tmp_path / "torch.py").write_text("import os; os.abort()")
    path = os.pathsep.join([str(tmp_path), str(TESTS)])
    program = "import sys; sys.path.remove(sys.argv[1]); import torch; sys.path[:0] = sys.argv[1:2]"
    program += "\nfrom spine_monai.cli import main; sys.exit(main(sys.argv[2:]))"
    words = ["localize", first_four, "--out", tmp_path / "out", "--bundle", quick, "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, [tmp_path, *words])],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "workers must live: 3 ended before any case was done, the last by SIGABRT" in done.stderr


def test_shards_together_give_what_one_run_gives(run, studies, quick, expected, tmp_path):
    words = ["localize", studies, "--out", tmp_path, "--bundle", quick]
    counts = []
    for shard in ("1/3", "2/3", "3/3"):
        code, said = run(*words, "--shard", shard)
        assert code == 0, said
        counts.append(len(manifest(tmp_path)))
        assert not (tmp_path / "landmarks.csv").exists()
        assert not (tmp_path / "report.json").exists()
    assert 0 < counts[0] < counts[1] < counts[2] == 12
    code, said = run(*words, "--gather")
    assert code == 0
    assert "12 cases: 12 done" in said
    assert table(tmp_path) == table(expected)
    done = report(tmp_path)["cases"]
    assert [case["case"] for case in done] == [f"case-{number:02}" for number in range(12)]
    assert {case["status"] for case in done} == {"done"}
    assert [c["warnings"] for c in done] == [c["warnings"] for c in report(expected)["cases"]]
    assert not (tmp_path / ".tries").exists()


def test_gathering_names_what_no_shard_has_done(run, studies, quick, tmp_path):
    words = ["localize", studies, "--out", tmp_path, "--bundle", quick]
    run(*words, "--shard", "2/3")
    done = len(manifest(tmp_path))
    code, said = run(*words, "--gather")
    assert code == 1
    assert f"12 cases: {done} done, {12 - done} failed" in said
    failed = [case for case in report(tmp_path)["cases"] if case["status"] == "failed"]
    assert "run its shard, then gather again" in failed[0]["reason"]


def test_the_manifest_is_believed_until_the_job_changes(run, first_four, quick, tmp_path):
    """Neither study nor result is looked at: here they are gone."""
    moved = shutil.copy(first_four, tmp_path / "list.json")
    content = json.loads(first_four.read_text())
    items = [i | {"image": str(first_four.parent / i["image"])} for i in content["testing"]]
    Path(moved).write_text(json.dumps(content | {"testing": items}))
    words = ["localize", moved, "--out", tmp_path / "out", "--bundle", quick, "--shard", "1/1"]
    assert run(*words)[0] == 0
    assert report(tmp_path / "out")["cases"][3]["status"] == "done"
    items = [item | {"image": str(tmp_path / "gone")} for item in items]
    Path(moved).write_text(json.dumps(content | {"testing": items}))
    code, said = run(*words)
    assert (code, "4 cases: 4 skipped" in said) == (0, True)
    code, said = run(*words, "--slice", "1")
    assert (code, "4 cases: 4 failed" in said) == (1, True)
    code, said = run(*words, "--overwrite")
    assert (code, "4 cases: 4 failed" in said) == (1, True)


def test_one_shard_has_one_run_at_a_time(run, start, first_four, hazardous, tmp_path):
    bundle, out = hazardous(seconds=30.0), tmp_path / "out"
    words = [first_four, "--out", out, "--bundle", bundle, "--shard", "1/1"]
    start(*words)
    wait_for(lambda: begun(bundle), "no case was begun")
    code, said = run("localize", *words)
    assert code == 75
    assert "manifest-1-of-1.jsonl is in use: another run does this shard now" in said


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_a_killed_run_goes_on_where_it_was(  # noqa: PLR0917
    run, start, studies, hazardous, expected, tmp_path, workers
):
    bundle, out = hazardous(seconds=0.1), tmp_path / "out"
    words = [studies, "--out", out, "--bundle", bundle, "--shard", "1/1", "--workers", workers]
    process = start(*words)
    wait_for(lambda: out.is_dir() and len(manifest(out)) > 3, "no case was done")
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    with (out / "manifest-1-of-1.jsonl").open("a") as stream:
        stream.write('{"id": "case-1')  # what a power cut may leave
    before = len(manifest_ids(out))
    code, said = run("localize", *words)
    assert code == 0, said
    skipped = [n for n in range(before, before + workers + 1) if f" {n} skipped" in said]
    assert skipped, said  # its workers may still have ended their cases
    ids = manifest_ids(out)
    assert sorted(ids) == [f"case-{number:02}" for number in range(12)]
    assert table(out) == table(expected)
    assert max(Counter(begun(bundle)).values()) <= 2
    assert not leftovers(out)
    assert not (out / ".tries").exists()


def manifest_ids(folder):
    text = (folder / "manifest-1-of-1.jsonl").read_text()
    whole = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line["id"] for line in whole if "id" in line]


@pytest.mark.heavy
def test_a_case_that_killed_three_runs_is_left_out(run, start, first_four, hazardous, tmp_path):
    """In one process, as a scheduler starts it again and again; its neighbours are not blamed."""
    bundle, out = hazardous(deadly=["case-01"]), tmp_path / "out"
    words = [first_four, "--out", out, "--bundle", bundle, "--shard", "1/1"]
    for _ in range(3):
        process = start(*words)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -signal.SIGKILL
    for _ in range(2):
        code, said = run("localize", *words)
        assert code == 1
        assert "1 failed" in said
        assert len(list(out.glob("*/landmarks.json"))) == 3
    assert Counter(begun(bundle))["case-01"] == 3
    (line,) = [line for line in manifest(out) if line["status"] == "poison"]
    assert (line["id"], line["tries"]) == ("case-01", 3)
    failed = [case for case in report(out)["cases"] if case["status"] == "failed"]
    assert [case["case"] for case in failed] == ["case-01"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--shard", "0/3"], "shard must be I/N with I from 1 to N, such as 3/8: got 0/3"),
        (["--shard", "4/3"], "got 4/3"),
        (["--shard", "third"], "got 'third'"),
        (["--backend", "onnxruntime"], "backend and model must go together"),
        (["--model", "file.onnx"], "backend and model must go together"),
        (["--gpus", "0.5"], "gpus must be 0 or more, and goes with the engine ray: got 0.5"),
    ],
)
def test_wrong_words_are_refused_before_any_work(run, first_four, tmp_path, words, match):
    code, said = run("localize", first_four, "--out", tmp_path / "out", *words)
    assert code == 2
    assert match in said
    assert not (tmp_path / "out").exists()


def test_ray_takes_datalists(run, first_four, tmp_path):
    folder = first_four.parent / "0"
    code, said = run("localize", folder, "--out", tmp_path / "out", "--engine", "ray")
    assert code == 2
    assert f"the engine ray takes datalists: got {folder}" in said


def actors():
    return processes_with("ray::MapWorker")


def listening_addresses(pids):
    """Local addresses, as text, on which processes listen for TCP."""
    sockets = {os.readlink(fd) for pid in pids for fd in readable(Path(f"/proc/{pid}/fd"))}
    found = set()
    for table_of in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table_of}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].split(":")[0])
    return found


def readable(folder):
    try:
        return [path for path in folder.iterdir() if path.is_symlink()]
    except OSError:
        return []


def ray_processes():
    words = ("ray::", "/ray/core/src/ray/", "ray/_private", "ray/dashboard")
    return [pid for word in words for pid in processes_with(word)]


def results(folder):
    return list(folder.glob("*/landmarks.json"))


def done_lines(folder):
    return Counter(line["id"] for line in manifest(folder) if line["status"] == "done")


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def test_ray_does_every_study_once_though_an_actor_is_killed(
    start, studies, hazardous, expected, tmp_path
):
    """On a real cluster on this machine, which nobody else can reach."""
    bundle, out = hazardous(seconds=0.3), tmp_path / "out"
    process = start(studies, "--out", out, "--bundle", bundle, "--engine", "ray")
    wait_for(lambda: begun(bundle), "no case was begun")
    addresses = listening_addresses(ray_processes())
    assert addresses <= LOOPBACK
    assert addresses
    os.kill(actors()[0], signal.SIGKILL)
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "12 cases: 12 done" in said
    assert table(out) == table(expected)
    assert set(done_lines(out).values()) == {1}
    assert len(done_lines(out)) == 12
    assert len(begun(bundle)) == 13
    assert not leftovers(out)
    assert not (out / ".tries").exists()
    assert "case case-07: series 1" in errors
    assert "Traceback" not in errors
    assert "streaming_executor" not in errors


@pytest.mark.heavy
def test_ray_loses_nothing_when_actors_and_the_driver_are_killed(
    run, start, studies, hazardous, expected, tmp_path
):
    """Five actors, then the driver; the next call goes on."""
    bundle, out = hazardous(seconds=1.0), tmp_path / "out"
    words = [studies, "--out", out, "--bundle", bundle, "--engine", "ray", "--workers", 2]
    process = start(*words)
    for kill in range(5):  # each over another case: three over one would be that case's fault
        wait_for(lambda: len(results(out)) > kill and actors(), "no case was done")  # noqa: B023
        os.kill(actors()[-1], signal.SIGKILL)
    wait_for(lambda: len(results(out)) > 5, "no case was done")
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    wait_for(lambda: not ray_processes(), "Ray lives on")
    process = start(*words)
    said, errors = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 0, errors
    assert "12 cases:" in said
    assert table(out) == table(expected)
    assert set(done_lines(out)) == {f"case-{number:02}" for number in range(12)}
    assert set(done_lines(out).values()) == {1}
    assert not leftovers(out)


@pytest.mark.heavy
def test_ray_reports_a_case_that_kills_its_actors(start, first_four, hazardous, tmp_path):
    bundle, out = hazardous(deadly=["case-01"]), tmp_path / "out"
    process = start(first_four, "--out", out, "--bundle", bundle, "--engine", "ray")
    said, errors = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 1, errors
    assert "4 cases: 3 done, 1 failed" in said
    assert Counter(begun(bundle))["case-01"] == 3


@pytest.mark.heavy
def test_ray_ends_cleanly_when_it_is_interrupted(start, first_four, hazardous, tmp_path):
    bundle, out = hazardous(seconds=2.0), tmp_path / "out"
    process = start(first_four, "--out", out, "--bundle", bundle, "--engine", "ray")
    wait_for(lambda: begun(bundle), "no case was begun")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    wait_for(lambda: not ray_processes(), "Ray lives on")


@pytest.mark.heavy
def test_what_is_wrong_for_all_actors_ends_the_call(start, first_four, bundle_copy, tmp_path):
    (bundle_copy / "models" / "model.pt").write_bytes(b"no weights")
    process = start(
        *(first_four, "--out", tmp_path / "out", "--bundle", bundle_copy, "--engine", "ray")
    )
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, errors
    assert "it is damaged or holds code" in errors
