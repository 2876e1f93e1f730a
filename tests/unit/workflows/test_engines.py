import signal
import sys
from contextlib import ExitStack

import pytest

from spine_monai.workflows.engines import EngineChoice
from spine_monai.workflows.in_process import InProcess
from spine_monai.workflows.processes import _cause, processors
from spine_monai.workflows.ray_engine import require_ray
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.tries import TRIES_FOLDER


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"name": "dask"}, "engine must be one of local, ray: got 'dask'"),
        ({"workers": -1}, "num_workers must be 0 or more: got -1"),
        ({"gpus": 0.5}, "gpus must be 0 or more, and goes with the engine ray: got 0.5 with local"),
        ({"name": "ray", "gpus": -1.0}, "gpus must be 0 or more"),
    ],
)
def test_a_wrong_choice_is_refused(words, match):
    with pytest.raises(ValueError, match=match):
        EngineChoice(**words)


def test_one_worker_is_this_process(tmp_path):
    with ExitStack() as stack:
        engine = EngineChoice(workers=1).start(Recipe(tmp_path, tmp_path), stack)
    assert isinstance(engine, InProcess)
    assert (engine.num_workers, engine.tries) == (1, None)


def test_marks_are_kept_where_the_next_run_looks_for_them(tmp_path):
    with ExitStack() as stack:
        choice = EngineChoice(workers=0, keeps_tries=True)
        engine = choice.start(Recipe(tmp_path, tmp_path / "out"), stack)
    assert engine.num_workers == 0
    assert engine.tries.folder == tmp_path / "out" / TRIES_FOLDER


def test_the_bundles_own_number_of_readers_wins(tmp_path):
    recipe = Recipe(tmp_path, tmp_path, values={"num_workers": 3})
    with ExitStack() as stack:
        assert EngineChoice().start(recipe, stack).num_workers == 3


def test_the_cause_of_death_is_a_name():
    assert _cause(-signal.SIGSEGV) == "SIGSEGV"
    assert _cause(3) == "exit code 3"


def test_there_is_a_processor():
    assert processors() >= 1


def test_without_ray_the_message_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'spine_monai\[ray\]'"):
        require_ray()
