"""Whether exported files compute what the active sub-network computes, asked of a new process.

The new process runs this file by its path and has nothing of this project loaded, so that only the files themselves,
torch and transformers can make the model work; it gets no network either. It loads the folder as any user would and
compares the outputs on fixed tokens, the shapes of all parameters, and, where the model generates, what it generates
with a KV cache.

Run as ``python -P parity.py FOLDER REFERENCE``: prints a ``Parity`` as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_NUM_NEW_TOKENS = 8
_RELATIVE_TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Share of the largest output by which outputs may differ: a view of a weight may be summed in another order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What the reloaded model must come to.

    Attributes:
        auto_class: Name of the transformers class that loads it, such as ``AutoModelForCausalLM``.
        remote_code: Whether it needs the modelling file beside the weights.
        device: Where to compare, such as ``cuda:0``.
        shapes: Of all parameters, by name.
        input_ids: ``(batch, tokens)`` int64.
        outputs: By name, such as ``logits``; in the model's dtype.
    """

    auto_class: str
    remote_code: bool
    device: str
    shapes: dict[str, list[int]]
    input_ids: Tensor
    outputs: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        tensors = {f"outputs.{name}": output.contiguous() for name, output in self.outputs.items()}
        said = {"auto_class": self.auto_class, "remote_code": self.remote_code, "device": self.device}
        metadata = {"reference": json.dumps({**said, "shapes": self.shapes})}
        save_file({"input_ids": self.input_ids, **tensors}, path, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of ``save``, on the CPU."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            said = json.loads(file.metadata()["reference"])
        input_ids = tensors.pop("input_ids")
        return cls(**said, input_ids=input_ids, outputs={key.partition(".")[2]: t for key, t in tensors.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How a reloaded model compares.

    Attributes:
        problem: What is wrong, as the end of a sentence; empty when it computes the same.
        lacks_memory: Whether that is room to load it, so that nothing is known of the files.
        max_abs_difference: Between any two outputs.
        tolerance: What that may be.
        num_parameters: Of the reloaded model, tied ones counted once.
    """

    problem: str
    lacks_memory: bool = False
    max_abs_difference: float = float("nan")
    tolerance: float = float("nan")
    num_parameters: int = 0


def fixed_input_ids(vocab_size: int, *, batch_size: int = 2, num_tokens: int = 16) -> Tensor:
    """``(batch_size, num_tokens)`` int64, random and the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (batch_size, num_tokens), generator=generator)


@torch.no_grad()
def outputs_of(model: nn.Module, input_ids: Tensor) -> dict[str, Tensor]:
    """Every tensor that the model returns for these tokens, on the CPU."""
    outputs = model(input_ids=input_ids)
    return {name: output.cpu() for name, output in outputs.items() if isinstance(output, Tensor)}


def check_in_new_process(folder: Path, reference: Reference) -> Parity:
    """Compares in a process of its own, as ``compare`` does."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "reference.safetensors"
        reference.save(path)
        ended = subprocess.run(
            [sys.executable, "-P", __file__, str(folder), str(path)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": scratch, "TQDM_DISABLE": "1"},
            stdin=subprocess.DEVNULL,  # nobody is there to be asked whether code may run
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        last_words = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        lacks_memory = ended.returncode == -signal.SIGKILL or tells_of_memory(ended.stderr)
        return Parity(problem=f"a new process cannot load them ({last_words})", lacks_memory=lacks_memory)
    return Parity(**json.loads(ended.stdout.splitlines()[-1]))


def tells_of_memory(error: str) -> bool:
    """Whether an error, told with its type, is PyTorch's or Python's of having run out of memory."""
    return any(words in error for words in ("out of memory", "MemoryError", "allocate memory"))


def compare(folder: Path, reference: Reference) -> Parity:
    """Loads a folder as any user would, and compares.

    Args:
        folder: With a model in it.
        reference: What it must come to.
    """
    model, loading = getattr(transformers, reference.auto_class).from_pretrained(
        folder, dtype="auto", trust_remote_code=reference.remote_code, output_loading_info=True
    )
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[kind]:
            return Parity(problem=f"transformers reports {kind.replace('_', ' ')}: {sorted(loading[kind])[:3]}")
    if shapes != reference.shapes:
        wrong = sorted(name for name in shapes | reference.shapes if shapes.get(name) != reference.shapes.get(name))
        return Parity(problem=f"parameters differ in shape: {', '.join(wrong[:3])}")
    model = model.to(reference.device).eval()
    outputs = outputs_of(model, reference.input_ids.to(reference.device))
    return _compare_outputs(model, outputs, reference)


def _compare_outputs(model: Any, outputs: dict[str, Tensor], reference: Reference) -> Parity:
    expected = {name: output.float() for name, output in reference.outputs.items()}
    if outputs.keys() != expected.keys():
        return Parity(problem=f"the model returns {sorted(outputs)} instead of {sorted(expected)}")
    difference = max((outputs[name].float() - expected[name]).abs().max().item() for name in expected)
    largest = max(output.abs().max().item() for output in expected.values())
    tolerance = _RELATIVE_TOLERANCE[model.dtype] * max(1.0, largest)
    problem = ""
    if not difference <= tolerance:  # a NaN is not
        problem = f"the outputs differ by {difference:.3g} where {tolerance:.3g} is allowed"
    elif model.can_generate():
        problem = _generation_problem(model, reference, tolerance)
    return Parity(
        problem=problem,
        max_abs_difference=difference,
        tolerance=tolerance,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


@torch.no_grad()
def _generation_problem(model: Any, reference: Reference, tolerance: float) -> str:
    """What is wrong with greedy generation: without a cache, too, each token must be the best, or as good as it."""
    prompt = reference.input_ids.to(reference.device)
    generated = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=_NUM_NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    num_prompt_tokens = prompt.shape[1]
    logits = model(input_ids=generated[:, :-1], use_cache=False).logits[:, num_prompt_tokens - 1 :].float()
    chosen = logits.gather(-1, generated[:, num_prompt_tokens:, None]).squeeze(-1)
    shortfall = (logits.amax(dim=-1) - chosen).max().item()
    if shortfall <= tolerance:
        return ""
    return f"generation with a KV cache picks tokens whose logits fall short of the best by {shortfall:.3g}"


def main() -> None:
    """Compares the folder and the reference given on the command line."""
    folder, reference = (Path(argument) for argument in sys.argv[1:])
    parity = compare(folder, Reference.load(reference))
    sys.stdout.write(json.dumps(asdict(parity)) + "\n")


if __name__ == "__main__":
    main()
