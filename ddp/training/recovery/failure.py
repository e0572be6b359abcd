"""Why a rank failed: told in words for people, once for all ranks, and not again for a failure that would repeat."""

import logging

from ddp.distributed.world import CollectiveTimeoutError, World, is_peer_loss
from ddp.training.components import TrainerComponents
from service.errors import RepeatedFailureError, UserError
from service.run.state import RunState

MAX_REASON_LENGTH = 1000

logger = logging.getLogger(__name__)


def repeated_failure(error: BaseException, world: World, where: str) -> RepeatedFailureError | None:
    """Return an error that ends the run if this rank failed at the same place in the same way before a restart."""
    is_expected = isinstance(error, UserError | CollectiveTimeoutError) or is_peer_loss(error)
    if is_expected or not isinstance(error, Exception):
        return None
    what = f"{where} ({_text_of(error)})"
    if not world.repeats_failure(what):
        return None
    logger.error("Rank %d failed.", world.rank, exc_info=error)
    return RepeatedFailureError(
        f"Rank {world.rank} failed {what}, as it did before the restart, and would again: mend what the traceback "
        "above names, then resume."
    )


def close_after(error: BaseException, components: TrainerComponents) -> None:
    """Record why the run failed, unless the launcher will restart all ranks."""
    world = components.world
    if isinstance(error, UserError):
        world.publish_failure(str(error))
        components.recorder.close(RunState.FAILED, str(error))
    elif is_peer_loss(error) and (reason := world.published_failure()):
        logger.error("Another rank has failed: %s", reason)
        components.recorder.close(RunState.FAILED, reason)
    elif world.restarts_left > 0:
        components.agreement.put_back()
        components.recorder.close_for_restart()
    else:
        reason = _reason_of(error, world.rank)
        if not is_peer_loss(error):
            world.publish_failure(reason)
        components.recorder.close(RunState.FAILED, reason)


def _reason_of(error: BaseException, rank: int) -> str:
    """Return why this rank ends, in words that tell people more than those of gloo about a lost connection."""
    if isinstance(error, CollectiveTimeoutError):
        return str(error)
    if is_peer_loss(error):
        return "The process of another rank has ended; its own output, and that of the launcher, say why."
    return f"Rank {rank} failed: {_text_of(error)}"


def _text_of(error: BaseException) -> str:
    """Return class and message of an error, of a very long message the beginning."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= MAX_REASON_LENGTH else f"{text[:MAX_REASON_LENGTH]}…"
