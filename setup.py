"""The compiled layers of forecasting's training: an optional part, one build for each level of the processor.

Without a C compiler the installation goes on, and the PyTorch layers train in their place. All else is in pyproject.toml.
"""

import hashlib
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = "tasks/forecast/fast/simd"
SOURCES = [
    f"{FOLDER}/{name}.c" for name in ("attention", "autocorrelation", "decomposition", "layers", "sampling", "shrink")
]
HEADERS = [f"{FOLDER}/{name}.h" for name in ("head", "simd")]
# What `tasks.forecast.fast.simd.digest` computes: a build of other sources than are there is not used.
DIGEST = hashlib.sha256(b"".join(Path(name).read_bytes() for name in (*SOURCES, *HEADERS))).hexdigest()
# torch brings OpenMP's library into the process: linking another would start a second set of threads.
COMPILE = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"] + ["-fopenmp"] * (
    sys.platform == "linux"
)
LEVELS = {"any": []}
if platform.machine() in ("x86_64", "AMD64"):
    LEVELS |= {"v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}

setup(
    ext_modules=[
        Extension(
            f"{FOLDER.replace('/', '.')}.compiled_{level}",
            SOURCES,
            depends=[*HEADERS, "setup.py"],
            define_macros=[("SOURCES", f'"{DIGEST}"')],
            extra_compile_args=COMPILE + flags,
            optional=True,
        )
        for level, flags in LEVELS.items()
    ]
)
