"""What holds for all tests."""

import signal
from collections.abc import Iterator

import pytest

# A shell that starts `make test` in the background hands down an ignored Ctrl-C, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A training called within the test's process ends with its signals ignored, as its own process then ends too."""
    from recipes.process.interrupts import SIGNALS

    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
