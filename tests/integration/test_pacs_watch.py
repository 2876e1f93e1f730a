"""`pacs watch`: an Orthanc is followed, and its results go back into it."""

import pytest
import yaml
from pacs_node import NodeProcess, quick_bundle, small_study, study_uid, wait_for
from pacs_servers import PASSWORD, USER, Orthanc, orthanc_missing

pytestmark = [
    pytest.mark.pacs,
    pytest.mark.skipif(bool(orthanc_missing()), reason=str(orthanc_missing())),
]


@pytest.fixture(scope="module")
def quick(bundle, tmp_path_factory):
    return quick_bundle(bundle, tmp_path_factory.mktemp("quick") / "bundle")


@pytest.fixture
def orthanc(tmp_path):
    with Orthanc(tmp_path / "orthanc") as server:
        yield server


@pytest.fixture
def node(tmp_path, quick, orthanc):
    (tmp_path / "secret").write_text(PASSWORD)
    watch = {"url": orthanc.url, "user": USER, "password": {"file": str(tmp_path / "secret")}}
    with NodeProcess(tmp_path / "site", quick, watch=watch | {"poll_s": 0.3}) as node:
        yield node


def count_changes(orthanc):
    return orthanc.get("/changes?last")["Last"]


def test_results_go_into_the_orthanc_once_though_the_watcher_is_killed(node, orthanc, tmp_path):
    first, second = (small_study(tmp_path / str(seed), seed, PatientName="Doe") for seed in (1, 2))
    orthanc.upload(*first)
    node.start("watch", event="started")
    node.wait_for_states("done")
    assert orthanc.counts() == (1, 2, 4)
    node.kill()
    orthanc.upload(*second)
    node.start("watch", event="started")
    wait_for(lambda: list(node.states().values()) == ["done", "done"], "the second study")
    assert orthanc.counts() == (2, 4, 8)
    assert len(node.events("work begins")) == 2
    cursor = "SELECT value FROM settings WHERE key='watch_cursor'"
    wait_for(lambda: node.rows(cursor) == [(str(count_changes(orthanc)),)], "its own results")
    assert list(node.states().values()) == ["done", "done"]
    assert node.stop() == 0
    assert study_uid(first) not in node.log()
    assert "Doe" not in node.log()


@pytest.fixture
def config(tmp_path, orthanc):
    """Write a configuration of `watch` and return its path."""

    def write(url=orthanc.url, secret=PASSWORD):
        (tmp_path / "secret").write_text(secret)
        watch = {"url": url, "user": USER, "password": {"file": "secret"}, "timeout_s": 5}
        (tmp_path / "pacs.yaml").write_text(
            yaml.safe_dump({"watch": watch, "serve": {"folder": "node"}})
        )
        return tmp_path / "pacs.yaml"

    return write


def test_check_asks_the_orthanc_that_is_watched(run, config, orthanc):
    code, said = run("pacs", "check", "--config", config())
    assert (code, "watch: http://127.0.0.1" in said) == (0, True), said
    assert "answers as Orthanc, at change 0" in said
    code, said = run("pacs", "check", "--config", config(secret="another one"))
    assert (code, "it does not know us: check `user` and `password`" in said) == (1, True), said
    code, said = run("pacs", "check", "--config", config(url=f"{orthanc.url}/system"))
    assert (code, said.count("watch: ")) == (1, 1), said
    orthanc.stop()
    code, said = run("pacs", "check", "--config", config())
    assert (code, "does not answer" in said) == (1, True), said
    assert run("pacs", "check", "--config", config(), "--offline")[0] == 0


@pytest.mark.heavy
def test_an_orthanc_that_is_away_is_followed_when_it_comes_back(node, orthanc, tmp_path):
    node.start("watch", event="started")
    orthanc.stop()
    wait_for(lambda: node.events("Orthanc cannot be followed"), "a warning")
    orthanc.start()
    orthanc.upload(*small_study(tmp_path / "study", 1))
    node.wait_for_states("done")
    assert orthanc.counts() == (1, 2, 4)
    assert PASSWORD not in node.log()
