"""What a run costs."""

import contextlib
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Measures time, memory and energy from its beginning on."""

    def __init__(self) -> None:
        _reset_peak_memory()
        self._wall, self._cpu, self._energy = time.monotonic(), _cpu_seconds(), _energy_counters()
        self._before: dict[str, float | None] = {"seconds": 0.0, "cpu_seconds": 0.0, "energy_wh": 0.0}

    def add(self, times: Mapping[str, float | None]) -> None:
        """Count what an earlier process had used up, too: the `times` that it wrote down."""
        self._before = {name: _sum(before, times[name]) for name, before in self._before.items()}

    def times(self) -> dict[str, float | None]:
        """Return "seconds", "cpu_seconds" and "energy_wh" since the beginning.

        CPU seconds are those of all threads, and of processes that were started and have ended. The energy is that of
        the processor's packages, whoever used them, as Intel's and AMD's counters have it (RAPL); None where they can't
        be read, which often takes the rights of root.
        """
        now = {
            "seconds": time.monotonic() - self._wall,
            "cpu_seconds": _cpu_seconds() - self._cpu,
            "energy_wh": _energy_since(self._energy),
        }
        return {name: _sum(before, now[name]) for name, before in self._before.items()}


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _energy_counters() -> dict[Path, tuple[int, int]]:
    """The counter of each package in microjoules, and where it starts again from 0; empty if they can't be read."""
    found = {}
    for zone in sorted(_POWERCAP.glob("*-rapl:[0-9]")):  # packages; what is inside one has a second number
        try:
            found[zone] = int((zone / "energy_uj").read_text()), int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return {}
    return found


def _energy_since(start: Mapping[Path, tuple[int, int]]) -> float | None:
    """Watt hours since the counters were read. One that went round more than once, in hours, counts too little."""
    now = _energy_counters()
    if not start or now.keys() != start.keys():
        return None
    return sum((now[zone][0] - before) % (most + 1) for zone, (before, most) in start.items()) / 3.6e9


def _reset_peak_memory() -> None:
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
