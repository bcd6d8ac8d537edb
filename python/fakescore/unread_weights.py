"""What a builder did with weights that its `from_pretrained` did not read."""

from __future__ import annotations

import torch
from torch import nn

from .errors import BuildError, TeacherError
from .pretrained import Pretrained
from .recorders import Tape, TensorUse, unrecorded
from .teachers import Part, native_parts, tensor_names


class UnreadWeights:
    """A module's tensors as a `from_pretrained` under `meta_init` returned them."""

    def __init__(self, module: nn.Module, where: Pretrained, tape: Tape) -> None:
        named = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        self._class = type(module).__name__
        self._where = where
        self._since = tape.size()
        # Their storages: a cast gives the objects others.
        with unrecorded(), torch._C.DisableTorchFunction():
            self._tensors = {name: tensor.data for name, tensor in named if tensor.is_meta}

    def refuse_what_needs_them(self, tape: Tape, *, are_the_teacher: bool) -> None:
        """Lets a replay fail that would compute with initial values in their place.

        Raises BuildError for one that the builder wrote to, where the fill would undo that.
        """
        uses = tape.uses_since(list(self._tensors.values()), self._since)
        used = {
            name: use
            for name, use in zip(self._tensors, uses, strict=True)
            if use is not TensorUse.NONE
        }
        if not used:
            return
        in_checkpoint = self._names_in_checkpoint()
        for name, use in used.items():
            if name not in in_checkpoint:
                continue
            what = f"{name} of {self._class}"
            if use is TensorUse.WRITTEN and are_the_teacher:
                raise BuildError.of(
                    what,
                    "is written to after from_pretrained, which under meta_init reads no weights: "
                    "the fill would put the checkpoint's in the place of what was written",
                    "write to it after the fill, or give a teacher that has what was written",
                )
            tape.mark_unknown(what, self._tensors[name], self._since)

    def _names_in_checkpoint(self) -> set[str]:
        try:
            return set(tensor_names(native_parts([Part.of("", self._where)], None)))
        except TeacherError:
            return set(self._tensors)  # as the teacher, it fails the call
