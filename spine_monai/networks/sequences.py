"""What certainly follows what in a network: the steps of its plain ``nn.Sequential`` containers.

A container whose class has a ``forward`` of its own is no plain one. The steps of a container are
taken to be called through it alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

WITHOUT_EFFECT = (nn.Identity, _DropoutNd)  # in inference


@dataclass(frozen=True)
class Step:
    """One module of a sequence, and where it is kept."""

    module: nn.Module
    parent: nn.Module
    name: str
    is_used_once: bool

    def replace_by(self, module: nn.Module) -> None:
        """Put another module in this place."""
        setattr(self.parent, self.name, module)


def is_plain(module: nn.Module) -> bool:
    """Return whether a module does nothing but call its children one after the other."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def sequences(network: nn.Module) -> list[list[Step]]:
    """Return the steps of the plain containers, those of nested ones in their parent's sequence.

    What does nothing in inference is left out. A nested container that has several places is one
    opaque step there, and a sequence of its own: what follows it differs from place to place.
    """
    places = Counter(id(child) for parent in network.modules() for child in _children(parent))
    nested = {
        id(child)
        for parent in network.modules()
        for child in _children(parent)
        if is_plain(parent) and places[id(child)] == 1
    }
    outermost = [m for m in network.modules() if is_plain(m) and id(m) not in nested]
    return [list(_steps(container, places)) for container in outermost]


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """Children with repetitions, which ``children()`` leaves out."""
    return (child for child in module._modules.values() if child is not None)


def _steps(container: nn.Module, places: Counter[int]) -> Iterator[Step]:
    for name, child in container._modules.items():
        if child is None or isinstance(child, WITHOUT_EFFECT):
            continue
        is_used_once = places[id(child)] == 1
        if is_plain(child) and is_used_once:
            yield from _steps(child, places)
        else:
            yield Step(child, container, name, is_used_once)
