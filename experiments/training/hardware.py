"""Device, precision, threads and memory of a run: chosen by configuration, recorded as they were."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.types import RunMode

from experiments.config.keys import DEVICES, PRECISIONS
from lora.errors import check_choice

if TYPE_CHECKING:  # torch takes seconds to import: it is imported where it is used
    import torch

# Parameters of a model below which a process has one thread. A process of two threads makes 1.1 to 1.3 (bf16) or 1.4 to
# 1.6 (fp32) times half of what two processes of one thread make together (results/cpu/processes), but threads
# that wait for each other starve beside a busy process.
FEW_PARAMETERS = 2_000_000
# glibc: blocks of this many bytes and more go back to the system when freed; peak memory varies by 5 % without it
FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536"}
# glibc: no block goes back, so that a step does not wait for the system to hand out the pages that the last one freed
KEEP_FREED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def choose_precision(precision: str, device: torch.device) -> str:
    """fp32 or bf16 (autocast). `auto` takes bf16 on a GPU that has it and on a CPU with bf16 matrix instructions.

    Measured on an AMX-less CPU with avx512_bf16: a training step of minilm at 16 x 56 tokens under bf16 autocast
    takes 0.44 (LoRA) and 0.46 (full fine-tuning) of the fp32 time; a CPU without such instructions emulates bf16.
    """
    check_choice("trainer.precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and bf16_instructions() else "fp32"


def bf16_instructions() -> bool:
    """True if this CPU multiplies bf16 matrices in hardware (AMX or avx512_bf16)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_device(device: str) -> torch.device:
    """The device of this process; `auto` takes a GPU where there is one."""
    import torch

    check_choice("trainer.device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("trainer.device=cuda: torch finds no GPU here; use trainer.device=auto or cpu")
    return torch.device("cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda")


def describe(device: torch.device, processes: int) -> str:
    """Kind of device and number of processes, without the machine's name."""
    import torch

    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {_cpu()}"
    return f"{kind} x {processes}" if processes > 1 else kind


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.machine()}, {os.cpu_count()} cores"


def reset_peak_memory(device: torch.device) -> None:
    """Start a new high-water mark where the system lets us; otherwise the mark is the process's."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """High-water mark in MB (10^6 bytes): allocated on a GPU, resident set of the process on a CPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def in_fresh_process(function: Callable[Arguments, Value], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
    """The result of a call in a new process, which gives freed memory back at once: for its high-water mark."""
    return _in_process(FREE_AT_ONCE, function, *args, **kwargs)


def in_steady_process(function: Callable[Arguments, Value], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
    """The result of a call in a new process, which keeps the memory that it has freed: for its time."""
    return _in_process(KEEP_FREED, function, *args, **kwargs)


def _in_process(variables: dict[str, str], function: Callable[Arguments, Value], *args: Arguments.args,
                **kwargs: Arguments.kwargs) -> Value:
    with env_override(variables), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def parallel_jobs(jobs: int) -> int:
    """The number of jobs at a time that `jobs` means: as joblib's, -1 is one a core; 0 is an error.

    Inside a launcher's job the cores are that job's share of them.
    """
    count = joblib_jobs(jobs)
    return max(1, count // jobs_beside()) if jobs < 0 else count


def joblib_jobs(jobs: int) -> int:
    """The number of jobs at a time that joblib's `n_jobs` means on the whole machine."""
    from joblib import cpu_count

    if not isinstance(jobs, int) or jobs == 0:
        raise ValueError(f"jobs {jobs!r} is not a whole number from 1, or below 0: -1 is one a core")
    return max(1, cpu_count() + 1 + jobs) if jobs < 0 else jobs


def jobs_beside() -> int:
    """The number of jobs that the launcher of this one runs at a time, this one counted; 1 outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return 1
    return joblib_jobs(HydraConfig.get().launcher.get("n_jobs", 1))


def threads_for_this_process(parameters: int | None = None) -> int:
    """This job's share of the cores: all of them over the launcher's parallel jobs, at least 1.

    A model of few `parameters` gets one thread: beside others it loses by more (FEW_PARAMETERS).
    OMP_NUM_THREADS, where it is set, is the most.
    """
    from joblib import cpu_count

    small = parameters is not None and parameters < FEW_PARAMETERS
    share = 1 if small else max(1, cpu_count() // jobs_beside())  # cpu_count heeds affinity and container limits
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdigit() and int(limit) > 0 else share


def take_threads(threads: int | None, parameters: int) -> int:
    """Give torch in this process so many threads, or by None its share of the cores; returns the number.

    With one thread, tokenizers too have no more.
    """
    import torch

    threads = threads_for_this_process(parameters) if threads is None else threads
    torch.set_num_threads(threads)
    if threads == 1:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return threads
