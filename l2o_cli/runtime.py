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
import warnings
from pathlib import Path

from l2o_cli import stderr_filter

# What TensorFlow says when an entry of the compilation cache cannot be read.
_CACHE_DAMAGE = re.compile(
    r"Serialized cache key does not match|Failed to parse serialized CpuAotCompilationResult"
    r"|xla_compile_cache_|Read less bytes than requested"
)

# Without its new fusion emitters XLA compiles for a CPU in two thirds of the time and memory, and what it makes is as fast.
XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false"
XLA_FLAGS_KNOWN_TO = ("2.21.",)

debugging = False  # whether everything is kept and shown that helps to find a fault


def prepare(debug: bool = False) -> None:
    """Make TensorFlow, once imported, compile into the cache and keep quiet; everything as it comes when `debug`."""
    global debugging
    debugging = debug
    set_environment(debug)
    if not debug:
        quieten_python()
        stderr_filter.install()


def set_environment(debug: bool = False) -> None:
    """Environment variables for TensorFlow and Keras; what the user has set stands."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Convolutions are two to four times as fast with oneDNN, which TensorFlow leaves off where a CPU has no instructions for
    # neural networks; also with AVX2 alone. It is right in all that graphs reach: see `graph` for what it gets wrong.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # XLA aborts on a flag that it does not know, so this is for the releases it was tried with.
    if _release("tensorflow").startswith(XLA_FLAGS_KNOWN_TO):
        os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    folder = cache_folder()
    if folder is not None and "TF_XLA_FLAGS" not in os.environ:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        # TensorFlow fails at the first compilation if it cannot write there.
        if writable:
            flags = (f"--tf_xla_persistent_cache_directory='{folder}'", "--tf_xla_persistent_cache_read_only=false")
            os.environ["TF_XLA_FLAGS"] = " ".join(flags)


def compile_anew() -> None:
    """Make TensorFlow, not imported yet, leave the compilation cache alone, so that what it takes to compile can be measured."""
    if "persistent_cache_directory" in os.environ.get("TF_XLA_FLAGS", ""):
        del os.environ["TF_XLA_FLAGS"]


def cache_root() -> Path | None:
    """The folder of everything that l2o keeps for later: $L2O_CACHE, or l2o in the user's cache; None when L2O_CACHE=off."""
    chosen = os.environ.get("L2O_CACHE", "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "l2o"


def cache_folder() -> Path | None:
    """Where compiled computations are kept; None when nothing is.

    TensorFlow names an entry after the computation alone, so code for another CPU or by another release would be taken for
    this one's: each combination has a folder of its own.
    """
    root = cache_root()
    if root is None:
        return None
    identity = "\n".join((_release("tensorflow"), processor(), os.environ.get("XLA_FLAGS", "")))
    return root / "xla" / hashlib.sha256(identity.encode()).hexdigest()[:16]


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
    """What to do about `error` when it comes of the compilation cache: of a damaged entry, or of a disk that is full."""
    folder = cache_folder()
    if folder is None or "persistent_cache_directory" not in os.environ.get("TF_XLA_FLAGS", ""):
        return None
    if "No space left on device" in str(error):
        return f"if it is the disk of the compilation cache that is full, make room, or put {folder} elsewhere with L2O_CACHE"
    if _CACHE_DAMAGE.search(str(error)):
        return f"the compilation cache seems damaged: delete {folder} and run again"
    return None


def quieten_python() -> None:
    """Silence the Python warnings of TensorFlow and Keras, which are about their insides."""
    warnings.filterwarnings("ignore", module=r"(tensorflow|keras|google\.protobuf|tensorflow_datasets)\b")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def give_memory_back() -> None:
    """Free what nothing but itself refers to, and return freed memory to the system, where the C library is glibc.

    A compilation leaves much of both.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
