"""What a bundle that was trained here says of itself: its metadata and its model card.

The shipped bundle's own card tells of other weights, other data and other figures.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spine_monai.files import write_text
from spine_monai.landmarks import LandmarkRegistry

SUFFIX = "+trained"  # to the version of the bundle whose configuration was used
ROWS = {
    "coordinates": "coordinates alone",
    "heatmap": "heatmaps alone",
    "product": "product of the two",
    "fused": "all landmarks together: what the bundle gives",
}
CARD = """# {name} {version}

**Research only. Not for clinical use**: never for diagnosis, treatment or any other decision about
a patient.

Trained by `{command}` with spine_monai {software},
from the configuration of {name} {configuration}.

## Figures

| | MRE | within 4 mm | within 8 mm | level shifts |
|---|---|---|---|---|
{rows}

{landmarks} landmarks of {cases} cases, {subjects} subjects, in the plane of the slice; each fold by
networks and a fusion that were trained and fitted on the others. The bundle's own weights are
trained on all folds{without}, so these figures are of its configuration, on images like those.
`metrics.json` has intervals, each landmark and each case.

## Limits

Not known: other scanners, sequences and patients than those of the datalist. Check results against
annotated cases of your own (`spine-monai evaluate`) before you rely on them.
"""


def write_metadata(source: Path, bundle: Path, registry: LandmarkRegistry) -> None:
    """Write the metadata of a bundle to be trained: another version, its own data and landmarks.

    Args:
        source: the bundle whose configuration is used.
        bundle: gets ``configs/metadata.json``.
        registry: the landmarks that its networks look for.
    """
    metadata = json.loads((source / "configs" / "metadata.json").read_text(encoding="utf-8"))
    version = metadata["version"].removesuffix(SUFFIX)
    own = {
        "version": version + SUFFIX,
        "changelog": {version + SUFFIX: f"trained from the configuration of {version}"},
        "data_source": "the datalist it was trained on; see docs/README.md",
    }
    own["landmark_set"] = registry.name
    for key in ("network_data_format", "coordinates_data_format"):
        prediction = metadata[key]["outputs"]["pred"]
        prediction["num_channels"] = len(registry.names)
        prediction["channel_def"] = {str(i): name for i, name in enumerate(registry.names)}
    write_text(bundle / "configs" / "metadata.json", json.dumps(metadata | own, indent=4) + "\n")


def write_card(bundle: Path, metrics: Mapping[str, Any], exclude: Sequence[str]) -> None:
    """Write the model card of a bundle that has been trained.

    Args:
        bundle: gets ``docs/README.md``.
        metrics: what ``metrics.json`` holds: circumstances, and figures by arm.
        exclude: subjects that the bundle's own weights were not trained on.
    """
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    fused = metrics["fused"]
    card = CARD.format(
        name=metadata["name"],
        version=metadata["version"],
        configuration=metadata["version"].removesuffix(SUFFIX),
        command=metrics["command"],
        software=metrics["software"]["spine_monai"],
        rows="\n".join(_row(title, metrics[arm]["overall"]) for arm, title in ROWS.items()),
        landmarks=fused["overall"]["n"],
        cases=fused["cases"],
        subjects=fused["subjects"],
        without=f" without {', '.join(exclude)}" if exclude else "",
    )
    write_text(bundle / "docs" / "README.md", card)


def _row(title: str, overall: Mapping[str, Any]) -> str:
    within = [f"{overall['sdr'][mm]:.1%}" for mm in ("4", "8")]
    mre = "not known" if overall["mre_mm"] is None else f"{overall['mre_mm']:.2f} mm"  # none found
    cells = [title, mre, *within, str(overall["level_shifts"])]
    return f"| {' | '.join(cells)} |"
