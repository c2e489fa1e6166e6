"""What other libraries import in passing isn't loaded before it is used, and works then."""

import subprocess
import sys

import pytest

pytest.importorskip("scipy")
LOADED = "print([name for name in ('scipy.integrate', 'scipy.optimize', 'scipy.stats') if name in sys.modules])\n"


def said(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_functions_load_their_module_when_they_are_called():
    code = (
        "from tasks.deferred import deferred\n"
        "with deferred('scipy.optimize', 'scipy.stats', 'no_such_package.part'):\n"
        "    import scipy.stats\n    from scipy.optimize import linear_sum_assignment\n    from scipy.stats import norm\n"
        "    print('no_such_package.part' in sys.modules)\n"
        + LOADED
        + "print(*linear_sum_assignment([[1, 0], [0, 1]]), norm.cdf(0.0), scipy.stats.norm.cdf(0.0))\n"
        "print(type(sys.modules['scipy.optimize']).__name__)\n"
    )
    assert said(code) == ["False", "[]", "[0 1] [1 0] 0.5 0.5", "module"]


def test_a_class_is_the_real_one():
    code = (
        "from tasks.deferred import deferred\n"
        "with deferred('scipy.optimize'):\n    from scipy.optimize import OptimizeResult\n"
        "class Own(OptimizeResult): pass\nprint(Own(x=1).x)\n"
    )
    assert said(code) == ["1"]


def test_a_module_that_is_loaded_stays():
    code = (
        "import scipy.stats\nfrom tasks.deferred import deferred\nbefore = scipy.stats\n"
        "with deferred('scipy.stats'):\n    from scipy.stats import norm\n"
        "print(sys.modules['scipy.stats'] is before, norm is before.norm)\n"
    )
    assert said(code) == ["True True"]


def test_training_a_controlnet_loads_nothing_of_scipy():
    code = (
        "from recipes.registry import get\nget('controlnet').part('train')\n"
        "from tasks.controlnet.drawing.generation import SCHEDULERS, make_scheduler\n"
        "from tasks.controlnet.tiny.pipeline import build_scheduler\n"
        "for name in SCHEDULERS:\n    make_scheduler(name, dict(build_scheduler().config), 'epsilon')\n" + LOADED
    )
    assert said(code)[-1] == "[]"


def test_noise_schedules_by_the_beta_distribution_work():
    code = (
        "from tasks.controlnet.memory_efficient import prepare\n"
        "from tasks.controlnet.drawing.generation import make_scheduler\n"
        "from tasks.controlnet.tiny.pipeline import build_scheduler\n"
        "scheduler = make_scheduler('euler', {**build_scheduler().config, 'use_beta_sigmas': True}, 'epsilon')\n"
        "scheduler.set_timesteps(5)\nprint(len(scheduler.sigmas))\n"
    )
    assert said(code)[-1] == "6"
