"""What must be set before TensorFlow is imported: the environment, the compilation cache, and a quiet terminal."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import threading
import warnings
from pathlib import Path

from l2o_cli import devices, keras_settings, signals, stderr_filter
from l2o_cli.caches import places
from l2o_cli.caches.compiled import CompiledCode
from l2o_cli.errors import BadInput, warn_once

# Without its new fusion emitters XLA compiles for a CPU in two thirds of the time and memory, and what it makes is as fast.
XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false"
XLA_FLAGS_KNOWN_TO = ("2.21.",)

CACHE_FORMAT = "2"  # of the folder with compiled code
_OF_L2O = re.compile(r"--tf_xla_persistent_cache_directory='/proc/\d+/fd/")  # TF_XLA_FLAGS that an l2o has set, not the user

# Environment variables that may decide how numbers are rounded, but for those that only say what is printed or kept free.
_STEERING = re.compile(
    r"(TF_(?!CPP_|FORCE_GPU_ALLOW_GROWTH)|XLA_|ONEDNN_(?!VERBOSE)|DNNL_(?!VERBOSE)|MKL_|OMP_|GOMP_|KMP_|OPENBLAS_"
    r"|BLIS_|KERAS_|NVIDIA_|CUBLAS_|CUDNN_|HIP_|ROCM_|MALLOC_|GLIBC_)"
)

# XLA divides the work of an operation among the threads that TensorFlow has, of which there are as many as cores, and what is
# divided otherwise is rounded otherwise. So what is to have the same bits on all machines gets this many.
THREADS = 2
_THREADS = "TF_NUM_INTRAOP_THREADS"

compiled: CompiledCode | None = None  # the compilation cache that this process uses
debugging = False  # whether everything is kept and shown that helps to find a fault


def prepare(debug: bool = False, compiling: bool = True) -> None:
    """Make TensorFlow, once imported, compile into the cache and keep quiet; everything as it comes when `debug`.

    Args:
        compiling: whether the command may compile anything; the cache is left as it is if not.
    """
    global debugging
    debugging = debug
    if not debug:
        quieten_python()
        stderr_filter.install()  # it forks, which is best done before there are threads
    signals.listen()
    if compiling:
        set_environment(debug)
        keras_settings.undo_defaults()


def set_environment(debug: bool = False) -> None:
    """Environment variables for TensorFlow and Keras; what the user has set stands, but for the backend of Keras."""
    keras_settings.choose_backend()
    if os.path.expanduser("~") == "~":  # an unknown user without $HOME: Keras would make a folder of that name
        os.environ.setdefault("KERAS_HOME", os.devnull)
    # Convolutions are two to four times as fast with oneDNN, which TensorFlow leaves off where a CPU has no instructions for
    # neural networks; also with AVX2 alone. It is right in all that graphs reach: see `lean_graphs` for what it gets wrong.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0" if plain_tensorflow() else "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or the first process takes the whole memory of a GPU
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # XLA aborts on a flag that it does not know, so this is for the releases it was tried with.
    if _release("tensorflow").startswith(XLA_FLAGS_KNOWN_TO):
        os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    _use_cache()


def plain_tensorflow() -> bool:
    """Whether only TensorFlow's public interface is to be used: $L2O_PLAIN_TENSORFLOW, 1 or 0."""
    chosen = os.environ.get("L2O_PLAIN_TENSORFLOW", "")
    if chosen not in ("", "0", "1"):
        raise BadInput(f"L2O_PLAIN_TENSORFLOW={chosen[:50]}: expected 1 or 0")
    return chosen == "1"


def _use_cache() -> None:
    """Have TensorFlow keep what it compiles, if it can be kept and the user's flags do not forbid it."""
    global compiled
    flags = os.environ.get("TF_XLA_FLAGS")
    if flags is not None and (not _OF_L2O.match(flags) or (compiled is not None and flags == compiled.flags)):
        return
    os.environ.pop("TF_XLA_FLAGS", None)
    compiled = None
    try:
        root, folder = places.root(), cache_folder()
        if root is not None and folder is not None:
            places.claim(root, folder)
            compiled = CompiledCode(folder)
    except places.Unusable as error:
        warn_once(f"a cache is not used: {error}")
    if compiled is None:
        threading.Thread(target=_tend, daemon=True).start()
        return
    os.environ["TF_XLA_FLAGS"] = compiled.flags
    compiled.keep(then=_tend)


def _tend() -> None:
    from l2o_cli.caches.upkeep import tend

    tend()


def wait_for_cache() -> None:
    """Until the compilation cache may be believed; before the first compilation."""
    if compiled is not None:
        compiled.wait()


def without_cache(error: BaseException) -> bool:
    """Whether `error` comes of the compilation cache, and TensorFlow now has an empty one, so that it may be called again."""
    return compiled is not None and compiled.left(error)


def same_threads_everywhere() -> None:
    """Have TensorFlow, not imported yet, divide the work of an operation among `THREADS`, whatever the machine has.

    What the user has set stands.
    """
    os.environ.setdefault(_THREADS, str(THREADS))


def steering() -> dict[str, str]:
    """The environment variables of this process that may decide how numbers are rounded; not where the cache is."""
    chosen = {name: value for name, value in os.environ.items() if _STEERING.match(name)}
    if compiled is not None and chosen.get("TF_XLA_FLAGS") == compiled.flags:
        del chosen["TF_XLA_FLAGS"]
    return chosen


def compile_anew() -> None:
    """Make TensorFlow, not imported yet, leave the compilation cache alone, so that what it takes to compile can be measured."""
    if "persistent_cache_directory" in os.environ.get("TF_XLA_FLAGS", ""):
        del os.environ["TF_XLA_FLAGS"]


def cache_folder() -> Path | None:
    """Where compiled computations are kept; None when nothing is.

    TensorFlow names an entry after the computation alone, so code for another processor or by another release would be taken
    for this one's, and code that divides its work among more threads: each combination has a folder of its own.

    Raises:
        places.Unusable: there is no home folder to have it in.
    """
    folder = places.compiled()
    if folder is None:
        return None
    threads, gpus = os.environ.get(_THREADS) or str(devices.cores()), sorted({one.name for one in devices.gpus()})
    identity = (CACHE_FORMAT, _release("tensorflow"), processor(), os.environ.get("XLA_FLAGS", ""), threads, *gpus)
    return folder / hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]


def environment() -> dict[str, str | int]:
    """Versions of what computes the results, and the machine's cores and GPU, which the timings depend on, for their record."""
    packages = ("tensorflow", "keras", "numpy")  # whose name may be another one, such as tensorflow-cpu
    versions = {name: _release(name) or "not installed as a package" for name in packages}
    device = devices.gpu()
    named = {"device": device} if device else {}
    return {"l2o": version(), "python": platform.python_version(), **versions, "cpu_cores": devices.cores(), **named}


def version() -> str:
    """That of l2o."""
    return _release("l2o") or "0+unknown"  # a checkout that is not installed


def _release(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """What tells apart CPUs that cannot run each other's code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(features)])


def cache_hint(error: BaseException) -> str | None:
    """What to do about `error` when it comes of the compilation cache, and could not be helped by `without_cache`."""
    if compiled is None or not compiled.is_at_fault(error):
        return None
    return f"run again: the compilation cache, {compiled.folder}, is checked at every start (L2O_CACHE=off does without)"


def quieten_python() -> None:
    """Silence the Python warnings of TensorFlow, Keras and Matplotlib, which are about their insides."""
    warnings.filterwarnings("ignore", module=r"(tensorflow|keras|google\.protobuf|tensorflow_datasets)\b")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def give_memory_back() -> None:
    """Free what nothing but itself refers to, and return freed memory to the system, where the C library is glibc.

    A compilation leaves much of both.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
