"""Teachers told what data they are given: the same classes in the same order, and rows that were prepared otherwise."""

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from da.assemble import scored_transform
from da.build import build
from da.data.base import DomainData
from da.data.classes import listed
from da.data.images import Chain, ToNetwork
from da.data.rows import Transform
from da.data.scaling import Scale
from da.models.inputs import ConvertScale, ImageFormat, convert_images
from da.models.teacher import Teacher

MUST_AGREE = ("kind", "columns")
"""What the data of both sides say of their features, where they say it."""


def introduce(method: nn.Module, data: DomainData) -> None:
    """Tell every teacher inside a method what data the student reads. The data of the teachers stay closed.

    `Network.input` says what a network should be given; what it was given is known to the data alone. So the images or
    numbers of `data` are turned into those that the teacher's run prepared for it.

    Raises ValueError naming the teacher whose classes are others or in another order, or whose rows were prepared in a
    way that can't be had from the student's.
    """
    for module in method.modules():
        if isinstance(module, Teacher) and module.run is not None:
            try:
                _introduce(module, module.run.recorded, module.run.cfg.data, data)
            except ValueError as error:
                raise ValueError(f"the teacher {module.path}: {error}") from error


def _introduce(teacher: Teacher, recorded: Mapping[str, Any], node: Any, data: DomainData) -> None:
    classes = data.classes_of("target")
    if recorded["classes"] != list(classes):
        raise ValueError(
            f"its classes are {_ordered(recorded['classes'])}, but those of the data are {_ordered(classes)}"
        )
    theirs: DomainData = build(node, "data")
    theirs.restore(recorded["state"])
    state = json.loads(json.dumps(data.state()))  # tuples are lists there, as in the teacher's
    for key in MUST_AGREE:
        if key in state and key in recorded["state"] and state[key] != recorded["state"][key]:
            raise ValueError(f"the {key} of its rows are {recorded['state'][key]}, but those of the data {state[key]}")
    teacher.convert = _conversion(data, theirs)


def _conversion(data: DomainData, theirs: DomainData) -> Any:
    given, wanted = scored_transform(data), scored_transform(theirs)
    formats = [_image_format(transform) for transform in (given, wanted)]
    if formats[0] is not None and formats[1] is not None:
        return convert_images(formats[0], formats[1])
    if all(transform is None or isinstance(transform, Scale) for transform in (given, wanted)):
        return _scale_conversion(data, theirs, given, wanted)
    if given != wanted:
        raise ValueError(f"its rows are prepared by {wanted}, and those of the data by {given}: no way between them")
    return None


def _scale_conversion(data: DomainData, theirs: DomainData, given: Any, wanted: Any) -> ConvertScale | None:
    by = [getattr(side, "standardise", "none") for side in (data, theirs)]
    if by == ["each", "each"]:
        return None  # each domain by its own statistics, and the student's has those of its own
    if "each" in by:
        raise ValueError(f"data.standardise={by[1]} for it, but {by[0]} here: each domain by itself, or none of them")
    statistics = [((0.0,), (1.0,)) if scale is None else (scale.mean, scale.std) for scale in (given, wanted)]
    return None if statistics[0] == statistics[1] else ConvertScale(*statistics)


def _image_format(transform: Transform | None) -> ImageFormat | None:
    last = transform.transforms[-1] if isinstance(transform, Chain) else transform
    return ImageFormat(last.channels, last.size, last.mean, last.std) if isinstance(last, ToNetwork) else None


def _ordered(names: Any) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{len(names)} of them, such as {listed(names)}"
