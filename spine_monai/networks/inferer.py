"""An inferer that keeps MONAI's metadata out of the network, and puts it back onto the output."""

from typing import Any

from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor


class PlainInferer(Inferer):
    """Call a network with a plain tensor: every operation on a MetaTensor costs time of its own."""

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return ``network(inputs)`` with the metadata of the inputs, if they have any."""
        if not isinstance(inputs, MetaTensor):
            output: Tensor = network(inputs, *args, **kwargs)
            return output
        output = network(inputs.as_tensor(), *args, **kwargs)
        placed: Tensor = MetaTensor(output).copy_meta_from(inputs)
        return placed
