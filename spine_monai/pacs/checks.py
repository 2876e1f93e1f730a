"""Whether a configuration can work: secrets, certificates and keys, then what the others answer."""

from collections.abc import Iterator

from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.keys import check_series_keys
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import open_remote
from spine_monai.pacs.tls import check_authority, server_context


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


def _check_node(config: PacsConfig) -> None:
    if config.node.tls is not None:
        server_context(config.node.tls)


def _check_pull(config: PacsConfig) -> None:
    if config.pull is not None:
        check_series_keys(config.pull.series)


def _check_watch(config: PacsConfig) -> None:
    watch = config.watch
    if watch is not None and watch.password is not None:
        watch.password.read()
    if watch is not None and watch.authority is not None:
        check_authority(watch.authority)
