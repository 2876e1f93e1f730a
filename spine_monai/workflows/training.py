"""One training run of a bundle, going on from its last checkpoint."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader

from spine_monai.files import write_whole
from spine_monai.workflows.distributed import gathered, is_first

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"


def run_training(
    trainer: SupervisedTrainer,
    content: Mapping[str, Any],
    checkpoint_dir: str | Path,
    *,
    save_interval: int = 1,
) -> None:
    """Train to the last epoch, going on from the last checkpoint where there is one.

    Of several processes that train together the first one writes the checkpoints, and all read
    them.

    Args:
        trainer: the engine; its ``max_epochs`` counts from the very first start.
        content: what a checkpoint holds beside the trainer: network, optimizer, scheduler.
        checkpoint_dir: where ``checkpoint.pt`` lies.
        save_interval: epochs between checkpoints.

    Raises:
        ValueError: the checkpoint holds other parts, as those of an earlier version may; or is one
            of a run over another number of epochs, whose schedule of the learning rate is another
            one; or not every process found the same checkpoint.
    """
    path = Path(checkpoint_dir) / CHECKPOINT
    objects = {**content, "trainer": trainer}

    def save() -> None:
        states = {name: thing.state_dict() for name, thing in objects.items()}
        write_whole(path, lambda aside: torch.save(states, aside))

    if is_first():
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=save_interval), save)
        trainer.add_event_handler(Events.COMPLETED, save)
    if path.is_file():
        _check_content(path, objects.keys(), trainer.state.max_epochs)
        CheckpointLoader(str(path), objects, map_location="cpu")(trainer)
        logger.info("going on from epoch %d of %s", trainer.state.epoch, path)
    _check_processes(path, gathered(trainer.state.epoch))
    if trainer.state.epoch < trainer.state.max_epochs:
        trainer.run()


def _check_content(checkpoint: Path, parts: Collection[str], epochs: int) -> None:
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    anew = f"Start anew with another output_dir, or remove {checkpoint}."
    if saved.keys() != set(parts):
        msg = f"{checkpoint} must hold {sorted(parts)}: got {sorted(saved)}. {anew}"
        raise ValueError(msg)
    if saved["trainer"]["max_epochs"] != epochs:
        expected = saved["trainer"]["max_epochs"]
        msg = f"epochs must be those of the run to go on with: expected {expected}, got {epochs}. "
        raise ValueError(msg + anew)


def _check_processes(checkpoint: Path, epochs: Sequence[int]) -> None:
    if len(set(epochs)) > 1:
        msg = f"{checkpoint} must be the same file for every process: they go on from epochs "
        msg += f"{list(epochs)}. Give an output_dir on storage that all machines share."
        raise ValueError(msg)
