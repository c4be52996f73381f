"""Libraries that report their use to their makers, unless they are told not to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# OpenVINO's converter and NNCF report each use over the network by default. In what they take for a machine that
# builds and tests software they do not, and that is the one switch that both look at.
_SWITCHES = {"CI": "true", "NNCF_CI": "1"}


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Inside, OpenVINO and NNCF report nothing; NNCF must be imported first in here."""
    before = {name: os.environ.get(name) for name in _SWITCHES}
    os.environ.update(_SWITCHES)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
