"""Whether a configuration can work: secrets, certificates and keys, then what the others answer."""

from collections.abc import Iterator

from spine_monai.pacs.config import PacsConfig, Watch
from spine_monai.pacs.keys import check_series_keys
from spine_monai.pacs.node.orthanc import Orthanc
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import open_remote
from spine_monai.pacs.tls import server_context


def faults_of(config: PacsConfig) -> Iterator[str]:
    """Yield what is wrong with the files and keys that a configuration names; nobody is called."""
    silence_libraries()
    for name in config.remotes:
        try:
            with open_remote(config, name):
                pass
        except (ValueError, OSError) as error:
            yield f"remotes.{name}: {error}"
    for place, check in (("node", _check_node), ("pull", _check_pull), ("watch", _check_watch)):
        try:
            check(config)
        except (ValueError, OSError) as error:
            yield f"{place}: {error}"


def ask(config: PacsConfig, name: str) -> str:
    """Return what a remote answers.

    Raises:
        RemoteAwayError: it does not answer.
        RemoteRefusalError: it refuses us.
    """
    silence_libraries()
    with open_remote(config, name) as remote:
        return remote.echo()


def ask_watched(config: PacsConfig, watch: Watch) -> str:
    """Return what the Orthanc answers that `pacs watch` follows.

    Raises:
        RemoteAwayError: it does not answer.
        RemoteRefusalError: it refuses us, or is no Orthanc.
    """
    silence_libraries()
    with Orthanc(watch, config.node.max_object_mb) as orthanc:
        return orthanc.echo()


def _check_node(config: PacsConfig) -> None:
    if config.node.tls is not None:
        server_context(config.node.tls)


def _check_pull(config: PacsConfig) -> None:
    if config.pull is not None:
        check_series_keys(config.pull.series)


def _check_watch(config: PacsConfig) -> None:
    if config.watch is None:
        return
    with Orthanc(config.watch, config.node.max_object_mb):
        pass
    if config.serve is None:
        msg = "`pacs watch` must have the part `serve`, too: there is none. Add it, with `folder`."
        raise ValueError(msg)
