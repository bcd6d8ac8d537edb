"""fakescore: the fake score of DMD2 distillation, on every rank of a job.

    with fakescore.meta_init():
        model = WanTransformer3DModel.from_pretrained(folder)   # nothing is read
    fakescore.materialize(model, device="cuda")                 # all ranks: read once, broadcast

docs/python.md has the whole of it.
"""

from . import _build
from .deep_copy import create_fake_score
from .errors import (
    BuildError,
    CommError,
    ConfigError,
    FakescoreError,
    HostMemoryError,
    InternalError,
    MismatchError,
    TeacherError,
)
from .fill import create_fake_score_meta, last_report, materialize
from .meta import meta_init
from .param_init import param_init_fn
from .plan import Plan, plan_fake_score
from .report import CastKey, Phase, Report
from .sync import sync_module_states
from .teachers import Checkpoint, Merge

__version__ = _build.VERSION

__all__ = [
    "BuildError",
    "CastKey",
    "Checkpoint",
    "CommError",
    "ConfigError",
    "FakescoreError",
    "HostMemoryError",
    "InternalError",
    "Merge",
    "MismatchError",
    "Phase",
    "Plan",
    "Report",
    "TeacherError",
    "__version__",
    "create_fake_score",
    "create_fake_score_meta",
    "last_report",
    "materialize",
    "meta_init",
    "param_init_fn",
    "plan_fake_score",
    "sync_module_states",
]
