"""MLflow, by its own client: a run for each branch, its records as metrics, its settings as parameters."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from service.errors import UserError, plain_reason
from service.run.records.trackers.tracked_run import TrackedPoint, TrackedRun, library

MAX_METRICS, MAX_PARAMS = 1000, 100
"""Of one request: MLflow refuses more."""
MAX_PARAM_CHARACTERS = 500
"""The least that a version of MLflow allows."""
RUN_ID, BRANCH, STEP, ROLLBACKS, LATER = (
    f"leitstand.{name}" for name in ("run_id", "branch", "step", "rollbacks", "continued_by")
)
"""Tags."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "FAILED"}
"""MLflow's words for the states in which a run has ended."""


class MlflowTracker:
    """`Tracker` of MLflow; `where` is its tracking URI, None for that of MLFLOW_TRACKING_URI or its default."""

    def __init__(self, where: str | None, experiment: str) -> None:
        """Find or make the experiment; raises `UserError`."""
        self._mlflow = library("mlflow", "MLflow", "mlflow")
        self._run: Any = None
        self._newest: TrackedPoint | None = None
        try:
            self._client = self._mlflow.MlflowClient(tracking_uri=where)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = self._client.create_experiment(experiment) if found is None else found.experiment_id
        except ImportError as error:  # mlflow-skinny has no database
            raise UserError(
                f"MLflow cannot open {where or 'its default store'} ({plain_reason(error)}); install all of it with "
                "`pip install mlflow`, or name a server with --where."
            ) from None
        except self._mlflow.MlflowException as error:
            raise _refused(error) from None

    def begin(self, run: TrackedRun) -> int:
        """Find or make the MLflow run of this branch; an earlier branch's run names it."""
        try:
            runs = self._runs_of(run.run_id)
            found = runs.get(run.branch)
            if found is None or not run.is_continuation_of(_newest_step(found)):
                found = self._created(run, list(runs.values()))
            elif run.from_step is not None:
                self._client.update_run(found.info.run_id, status="RUNNING")
            self._run = found
            tags = {"mlflow.note.content": run.note, ROLLBACKS: "\n".join(run.rollbacks)}
            for name, text in tags.items():
                if text:
                    self._client.set_tag(self._id, name, text)
        except self._mlflow.MlflowException as error:
            raise _refused(error) from None
        return _newest_step(self._run)

    @property
    def _id(self) -> str:
        return str(self._run.info.run_id)

    def _runs_of(self, run_id: str) -> Mapping[int, Any]:
        """Return the newest MLflow runs of one run by branch."""
        quote = '"' if "'" in run_id else "'"
        found = self._client.search_runs(
            [self._experiment], f"tags.`{RUN_ID}` = {quote}{run_id}{quote}", order_by=["attributes.start_time ASC"]
        )
        return {int(run.data.tags.get(BRANCH, 0)): run for run in found}

    def _created(self, run: TrackedRun, earlier: Sequence[Any]) -> Any:
        is_again = any(int(other.data.tags.get(BRANCH, 0)) == run.branch for other in earlier)
        facts = {f"leitstand.{key}": text for key, text in run.facts.items()}
        created = self._client.create_run(
            self._experiment, tags={RUN_ID: run.run_id, BRANCH: str(run.branch), **facts},
            run_name=run.start_name if is_again else run.branch_name,
        )  # fmt: skip
        params = [self._mlflow.entities.Param(key, text[:MAX_PARAM_CHARACTERS]) for key, text in run.settings.items()]
        for part in _parts(iter(params), MAX_PARAMS):
            self._client.log_batch(created.info.run_id, params=part)
        for other in earlier:
            self._client.set_tag(other.info.run_id, LATER, created.info.run_id)
        return created

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Log the numbers of records, and up to which step they are there."""
        metrics = (
            self._mlflow.entities.Metric(tag, value, _milliseconds(point.at), point.step)
            for point in points
            for tag, value in point.scalars.items()
        )
        try:
            for part in _parts(metrics, MAX_METRICS):
                self._client.log_batch(self._id, metrics=part)
            self._client.set_tag(self._id, STEP, str(points[-1].step))
        except self._mlflow.MlflowException as error:
            raise _refused(error) from None
        self._newest = points[-1]

    def end(self, state: str) -> str:
        """Give the run MLflow's status for a state that is final."""
        status = STATUS.get(state)
        if status is not None:
            at = None if self._newest is None else _milliseconds(self._newest.at)
            try:
                self._client.set_terminated(self._id, status, at)
            except self._mlflow.MlflowException as error:
                raise _refused(error) from None
        return f"MLflow's run {self._id}"


def _newest_step(run: Any) -> int:
    return int(run.data.tags.get(STEP, -1))


def _milliseconds(unix_seconds: float | None) -> int:
    return round(1000 * (unix_seconds or 0.0))


def _parts(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(islice(items, size)):
        yield part


def _refused(error: Exception) -> UserError:
    return UserError(f"MLflow refuses ({error}); mend --where or MLFLOW_TRACKING_URI.")
