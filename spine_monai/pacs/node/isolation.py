"""What a worker process does before all else: it leaves the network, and ends with its owner.

What reads files of strangers shall be able to tell nobody of them. Linux gives a process a network
name space of its own, in which there is nothing but a loopback that is down. Root may ask for one;
others get it together with a user name space, where the system lets them. It must be asked before
the process has threads, therefore before torch is imported.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

Isolation = Literal["auto", "required", "no"]
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PROGRAM = (
    "from spine_monai.pacs.node.isolation import prepare_worker; prepare_worker({isolation!r}); "
    "from spine_monai.workflows.worker import main; main()"
)
TRIAL = "from spine_monai.pacs.node.isolation import leave_network; leave_network()"


def prepare_worker(isolation: Isolation) -> None:
    """Leave the network, and end when the thread that started this process ends.

    A worker whose owner was killed must not go on: the next one may do its study again, and have
    its files written over.

    Args:
        isolation: ``required`` raises where the system does not allow it; ``no`` stays.

    Raises:
        OSError: the system does not allow what is required.
    """
    try:
        if isolation != "no":
            leave_network()
    except OSError:
        if isolation == "required":
            raise
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def leave_network() -> None:
    """Take the network from this process and its children.

    Raises:
        OSError: the system does not allow it.
    """
    if not sys.platform.startswith("linux"):
        msg = "worker processes can leave the network on Linux alone."
        raise OSError(msg)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        msg = "worker processes must be allowed name spaces to leave the network: "
        raise OSError(msg + os.strerror(ctypes.get_errno()))
    _keep_identity(user, group)


def can_leave_network() -> bool:
    """Return whether a process of ours can be without the network here; one of them tries."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    trial = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", TRIAL],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    return trial.returncode == 0


def _keep_identity(user: int, group: int) -> None:
    """Be called in the new name space what we are called outside: libraries ask who we are."""
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{user} {user} 1")
    (own / "gid_map").write_text(f"{group} {group} 1")
