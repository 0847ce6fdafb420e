"""What a run costs."""

import contextlib
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak_memory() -> None:
    """Start measuring the peak anew, where the system can (Linux, CUDA); else the peak is that of the process."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mib() -> float:
    """Peak memory in MiB: of the CUDA device if one was used, else resident memory of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        lines = _STATUS.read_text().splitlines()
        return next(float(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def network_cost(net: nn.Module, x: Any) -> dict[str, int | None]:
    """Return how many parameters `net` has, how many of them are trained, and the multiply-accumulates of one row.

    "macs" is half of what `torch.utils.flop_counter` counts in a forward pass in evaluation mode: matrix products,
    convolutions and attention. Sums, activations, normalisation, pooling, embeddings and spectra count as nothing, and
    so does a backbone whose cached features are read in its place. None if the pass can't be counted.

    Args:
        net: any network; it is left as it was.
        x: one row of what it reads, a tensor or a mapping of such, on any device.
    """
    parameters = list(net.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "macs": _macs(net, x),
    }


@torch.no_grad()
def _macs(net: nn.Module, x: Any) -> int | None:
    device = next(net.parameters()).device
    x = {name: part.to(device) for name, part in x.items()} if isinstance(x, Mapping) else x.to(device)
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with _decomposed_attention(), FlopCounterMode(display=False) as counter:
            net(x)
    except Exception:  # of any kind: a run is not lost for a number
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode
    return int(counter.get_total_flops()) // 2


@contextlib.contextmanager
def _decomposed_attention() -> Iterator[None]:
    """Let attention be the matrix products that it is: the counter does not know all of its fused kernels."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
