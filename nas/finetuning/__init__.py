"""From a pre-trained encoder to a model of a task."""

from nas.finetuning.config import FinetuneConfig, load_finetune_config, parse_finetune_config
from nas.finetuning.finetune import Finetuned, finetune
from nas.finetuning.training import FinetuningError, Step

__all__ = [
    "FinetuneConfig",
    "Finetuned",
    "FinetuningError",
    "Step",
    "finetune",
    "load_finetune_config",
    "parse_finetune_config",
]
