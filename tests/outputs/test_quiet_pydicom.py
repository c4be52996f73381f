"""Nothing that pydicom says of a header's values comes out: not in blocks that overlap in threads, not in a command."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom

BORN = "1970.13.01X"


def read_badly() -> None:
    """pydicom warns of a value when it is first asked for."""
    Dataset.from_json({"00100030": {"vr": "DA", "Value": [BORN]}})


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was warned of and logged so far."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="pydicom")  # a command that another test ran here has silenced it
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [*(str(one.message) for one in caught), *caplog.messages]


def test_a_block_is_quiet_and_what_comes_after_is_as_before(told: Callable[[], list[str]]) -> None:
    with quiet_pydicom():
        read_badly()
    assert not any(BORN in text for text in told())
    read_badly()
    assert sum(BORN in text for text in told()) == 2  # the warning and the log


def test_blocks_of_two_threads_that_overlap_are_quiet_to_their_ends(told: Callable[[], list[str]]) -> None:
    level = logging.getLogger("pydicom").level
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def first() -> None:
        with quiet_pydicom():
            second_is_in.wait(10)
        first_is_out.set()

    def second() -> None:
        with quiet_pydicom():
            second_is_in.set()
            first_is_out.wait(10)
            read_badly()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first_is_out.is_set()
    assert not any(BORN in text for text in told())
    assert logging.getLogger("pydicom").level == level
    read_badly()
    assert any(BORN in text for text in told())


def test_what_others_warn_of_stays_heard_in_a_block(told: Callable[[], list[str]]) -> None:
    with quiet_pydicom():
        warnings.warn("of the program itself", stacklevel=1)
    assert "of the program itself" in told()


@pytest.mark.parametrize("verbose", [[], ["--verbose"]])
def test_a_command_is_quiet_in_all_its_threads(told: Callable[[], list[str]], verbose: list[str]) -> None:
    level = logging.getLogger("pydicom").level
    try:
        assert main([*verbose, "weights"]) == 0
        thread = threading.Thread(target=read_badly)
        thread.start()
        thread.join()
    finally:
        logging.getLogger("pydicom").setLevel(level)
    assert not any(BORN in text for text in told())
