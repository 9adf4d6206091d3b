"""Memory of KCM's R2, the part of it that grows with the square of a layer's neurons.

What stays in memory is the same in every update, so a few updates show it; all of them would take hours on a CPU for
14,336 neurons. ``resident_growth_bytes`` is by how much the process's peak outgrew the weights, as the system counts.
"""

import resource
import time

import torch
from record import argument_parser, publish

from nas.pruners.representatives import representative_scores


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--neurons", type=int, default=14336, help="of the layer; Llama 3 8B's by default")
    parser.add_argument("--hidden-size", type=int, default=4096)
    parser.add_argument("--updates", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns_ND = torch.randn(
        options.neurons, options.hidden_size, generator=torch.Generator().manual_seed(options.seed)
    )
    before = peak_bytes()
    start_s = time.perf_counter()
    scores_N = representative_scores(columns_ND, max_iterations=options.updates)
    result = {
        "benchmark": "kcm_memory",
        "resident_growth_bytes": peak_bytes() - before,
        "weights_bytes": columns_ND.nbytes,
        "seconds_per_update": (time.perf_counter() - start_s) / options.updates,
        "finite": bool(scores_N.isfinite().all()),
    }
    publish(result, options, device=columns_ND.device)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
