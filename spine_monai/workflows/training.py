"""One training run of a bundle, going on from its last checkpoint."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.data.utils import set_rnd
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader

from spine_monai.files import write_whole
from spine_monai.workflows.checks import difference
from spine_monai.workflows.distributed import gathered, is_first

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
SETTINGS = "settings"


def run_training(
    trainer: SupervisedTrainer,
    content: Mapping[str, Any],
    checkpoint_dir: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    save_interval: int = 1,
) -> None:
    """Train to the last epoch, going on from the last checkpoint where there is one.

    Of several processes that train together the first one writes the checkpoints, and all read
    them.

    Args:
        trainer: the engine; its ``max_epochs`` counts from the very first start.
        content: what a checkpoint holds beside the trainer: network, optimizer, scheduler.
        checkpoint_dir: where ``checkpoint.pt`` lies.
        settings: what must be the same to go on: folds, subjects left out, data; JSON values.
        save_interval: epochs between checkpoints.

    Raises:
        ValueError: there are fewer slices than one batch holds; or the checkpoint holds other
            parts, as those of an earlier version may; or is one of other settings; or of a run over
            another number of epochs, whose schedule of the learning rate is another one; or not
            every process found the same checkpoint.
    """
    _check_batches(trainer)
    path = Path(checkpoint_dir) / CHECKPOINT
    objects = {**content, "trainer": trainer}
    own = json.dumps(dict(settings or {}), sort_keys=True)

    def save() -> None:
        states = {name: thing.state_dict() for name, thing in objects.items()}
        write_whole(path, lambda aside: torch.save(states | {SETTINGS: own}, aside))

    if is_first():
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=save_interval), save)
        trainer.add_event_handler(Events.COMPLETED, save)
    if path.is_file():
        _check_content(path, objects.keys(), own, trainer.state.max_epochs)
        CheckpointLoader(str(path), objects, map_location="cpu")(trainer)
        _draw_anew(trainer)
        logger.info("going on from epoch %d of %s", trainer.state.epoch, path)
    _check_processes(path, gathered(trainer.state.epoch))
    if trainer.state.epoch < trainer.state.max_epochs:
        trainer.run()


def _check_batches(trainer: SupervisedTrainer) -> None:
    """Refuse an empty loader, over which MONAI would run with success."""
    loader = trainer.data_loader
    if len(loader) == 0:
        slices, size = len(loader.dataset), loader.batch_size
        msg = f"training cases must have enough slices for a batch of batch_size {size}: got "
        msg += f"{slices} slices. Lower batch_size, or give more cases."
        raise ValueError(msg)


def _draw_anew(trainer: SupervisedTrainer) -> None:
    """Go on with other random numbers than those of the first epochs."""
    seed = torch.initial_seed() + trainer.state.epoch
    torch.manual_seed(seed)
    set_rnd(trainer.data_loader.dataset, seed)


def _check_content(checkpoint: Path, parts: Collection[str], settings: str, epochs: int) -> None:
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    anew = f"Start anew with another output_dir, or remove {checkpoint}."
    expected_parts = sorted({*parts, SETTINGS})
    if sorted(saved) != expected_parts:
        msg = f"{checkpoint} must hold {expected_parts}: got {sorted(saved)}. {anew}"
        raise ValueError(msg)
    before, now = json.loads(saved[SETTINGS]), json.loads(settings)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            msg = f"{name} must be that of the run to go on with: "
            msg += f"{difference(name, before.get(name), now.get(name))}. "
            raise ValueError(msg + anew)
    if saved["trainer"]["max_epochs"] != epochs:
        expected = saved["trainer"]["max_epochs"]
        msg = f"epochs must be those of the run to go on with: expected {expected}, got {epochs}. "
        raise ValueError(msg + anew)


def _check_processes(checkpoint: Path, epochs: Sequence[int]) -> None:
    if len(set(epochs)) > 1:
        msg = f"{checkpoint} must be the same file for every process: they go on from epochs "
        msg += f"{list(epochs)}. Give an output_dir on storage that all machines share."
        raise ValueError(msg)
