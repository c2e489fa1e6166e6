"""What holds for all tests."""

import signal

# A shell that starts `make test` in the background hands down an ignored Ctrl-C, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
