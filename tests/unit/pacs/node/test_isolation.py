"""A worker process has no network and no life of its own."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from spine_monai.pacs.node.isolation import PROGRAM, can_leave_network

needs_name_spaces = pytest.mark.skipif(
    not can_leave_network(), reason="the system gives no network name spaces"
)
CALL = """
import socket, sys
from spine_monai.pacs.node.isolation import prepare_worker
prepare_worker(sys.argv[1])
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=5).close()
    print("reached")
except OSError:
    print("cut off")
import os
print(os.getuid() == int(sys.argv[3]))
"""


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def call(isolation, port):
    done = subprocess.run(
        [sys.executable, "-c", CALL, isolation, str(port), str(os.getuid())],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split("\n")[:2]


@needs_name_spaces
@pytest.mark.parametrize("isolation", ["auto", "required"])
def test_a_worker_reaches_nobody_and_is_still_the_same_user(isolation, port):
    assert call(isolation, port) == ["cut off", "True"]


def test_a_worker_that_may_keep_the_network_keeps_it(port):
    assert call("no", port) == ["reached", "True"]


def test_torch_is_not_imported_before_the_network_is_left():
    before = PROGRAM.partition("prepare_worker(")[0]
    program = f"{before.rpartition(';')[0]}; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has such a signal")
def test_a_worker_ends_with_its_owner():
    worker = "from spine_monai.pacs.node.isolation import prepare_worker; prepare_worker('auto'); "
    worker += "import time; print(1, flush=True); time.sleep(60)"
    owner = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]"
    owner += ", stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); "
    owner += "time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", owner, worker], stdout=subprocess.PIPE)
    with process:
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    limit = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
