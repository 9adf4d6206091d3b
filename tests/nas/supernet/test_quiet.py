import logging

from nas.supernet.quiet import without_hub_warnings


def test_the_hub_says_nothing_of_its_attempts_and_is_heard_again_after() -> None:
    logger = logging.getLogger("huggingface_hub.utils._http")
    level = logging.getLogger("huggingface_hub").level
    with without_hub_warnings():
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    assert logging.getLogger("huggingface_hub").level == level
    assert logger.isEnabledFor(logging.WARNING)
