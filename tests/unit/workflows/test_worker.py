"""What runs in other processes, run in this one: the same code, so that its errors are seen."""

import logging
import pickle
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import pytest
import torch
from deadly import make_bundle

from spine_monai.data.synthetic import make_study
from spine_monai.workflows.cases import ListedStudy
from spine_monai.workflows.ray_engine import RayLocalizer
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.worker import Answer, Broken, Order, Ready, serve

BUNDLE = Path(__file__).parents[3] / "bundles" / "spine_landmarks"


@pytest.fixture(autouse=True)
def same_process_after():
    """Logging as before."""
    own, root = logging.getLogger("spine_monai"), logging.root
    before = (own.level, own.propagate, own.handlers[:], root.handlers[:])
    yield
    logging.captureWarnings(capture=False)
    own.level, own.propagate, own.handlers[:], root.handlers[:] = before
    logging.root.manager._clear_cache()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return make_bundle(BUNDLE, tmp_path_factory.mktemp("quick") / "bundle")


@pytest.fixture
def order(quick, tmp_path):
    recipe = Recipe(quick, tmp_path / "out", ("json",), {"device": "cpu"})
    return Order(recipe, tmp_path / "marks", 1, logging.INFO)


@pytest.fixture
def item(tmp_path):
    file = make_study(shape=(48, 40, 3), spacing_mm=(5.6, 4.8, 4.0)).write_nifti(
        tmp_path / "t2.nii.gz"
    )
    return {"id": "one", "image": ListedStudy(str(file))}


@pytest.fixture
def owner():
    """Our end of the connection; a worker serves the other one."""
    ours, theirs = Pipe()
    thread = Thread(target=serve, args=[theirs])
    thread.start()
    yield ours
    ours.close()
    thread.join(60)
    assert not thread.is_alive()
    theirs.close()


def test_a_worker_answers_each_item_with_its_log(owner, order, item, tmp_path):
    owner.send(order)
    assert isinstance(owner.recv(), Ready)
    owner.send(item)
    answer = owner.recv()
    assert isinstance(answer, Answer)
    assert (answer.report.case, answer.report.status, answer.report.tries) == ("one", "done", 1)
    assert "case one: the file holds one volume" in answer.records[0].getMessage()
    assert (tmp_path / "out" / "one" / "landmarks.json").is_file()
    owner.send(item | {"id": "two", "image": ListedStudy(str(tmp_path / "gone"))})
    assert owner.recv().report.status == "failed"
    owner.send(None)
    assert not list((tmp_path / "marks").iterdir())


def test_a_worker_computes_on_as_many_threads_as_it_is_told(order, tmp_path):
    ours, theirs = Pipe()
    ours.send(Order(Recipe(tmp_path, tmp_path / "out", ("json",)), order.tries, 1, logging.INFO))
    torch.set_num_threads(2)
    serve(theirs)
    assert isinstance(ours.recv(), Broken)
    assert torch.get_num_threads() == 1  # each thread has its own number


def test_a_worker_that_cannot_build_its_program_says_why(owner, order, tmp_path):
    wrong = Recipe(tmp_path, tmp_path / "out", ("json",))
    owner.send(Order(wrong, order.tries, 1, logging.INFO))
    message = owner.recv()
    assert isinstance(message, Broken)
    assert isinstance(message.error, OSError | ValueError)


def test_a_disk_that_cannot_be_written_breaks_a_worker_and_blames_no_case(
    owner, order, item, tmp_path
):
    (tmp_path / "out").write_text("in the way")
    owner.send(order)
    owner.recv()
    owner.send(item)
    message = owner.recv()
    assert isinstance(message, Broken)
    assert isinstance(message.error, OSError)
    assert not list((tmp_path / "marks").iterdir())


def test_a_worker_whose_owner_is_gone_ends(owner, order):
    owner.send(order)
    owner.recv()  # and the fixture closes the connection


def test_a_worker_takes_an_order_first(item):
    ours, theirs = Pipe()
    ours.send(item)
    with pytest.raises(TypeError, match="a worker must be sent an Order first: got dict"):
        serve(theirs)
    ours.close()
    theirs.close()


def test_an_actor_answers_rows(order, item):
    actor = RayLocalizer(order)
    (value,) = actor({"item": pickle.dumps(item)}).values()
    answer = pickle.loads(value)
    assert (answer.report.status, answer.report.landmarks) == ("done", None)
    assert answer.report.digest
    assert answer.records


def test_an_actor_gives_the_error_that_ends_the_run(order, item, tmp_path):
    (tmp_path / "out").write_text("in the way")
    row = {"item": pickle.dumps(item)}
    assert isinstance(pickle.loads(RayLocalizer(order)(row)["answer"]), OSError)
    wrong = Order(Recipe(tmp_path, tmp_path / "out"), order.tries, 1, logging.INFO)
    assert isinstance(pickle.loads(RayLocalizer(wrong)(row)["answer"]), OSError | ValueError)
