"""`/livez`: this process answers. `/readyz`: the store can be read and a trainer is alive."""

import time

from flask import Blueprint

from api.problems import ProblemError
from api.reader import current_reader

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> dict[str, bool]:
    """Always 200: restarting the API would not help a trainer."""
    return {"alive": True}


@blueprint.get("/readyz")
def readyz() -> dict[str, bool]:
    """200 while commands can be obeyed, otherwise 503."""
    reader = current_reader()
    state = reader.run().reported_state(time.time())
    if not state.has_trainer:
        raise ProblemError("no-trainer", f"No trainer is alive: the run is {state}.")
    return {"ready": True}
