#!/usr/bin/env bash
# kubeflow-trainer-api 2.2.1 and 2.3.0, the models of Kubeflow Trainer.
#
# Behaviour: `to_json()` of a model that holds a time raises TypeError, so what `from_json()` has read cannot be written
#   again: it is json.dumps(self.to_dict()), and to_dict() keeps datetimes. A TrainJob's status must hold one.
# The good guess that was wrong: a status is valid if `from_json()` and `to_json()` give it back.
# What helps: compare with `to_dict()`, or write with pydantic's `model_dump_json(by_alias=True, exclude_none=True)`.
#
# Output seen, for both versions: "to_json: Object of type datetime is not JSON serializable".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
for version in 2.2.1 2.3.0; do
  "$folder/env/bin/pip" install --quiet --disable-pip-version-check "kubeflow-trainer-api==$version" "pydantic==2.14.4"
  "$folder/env/bin/python" - "$version" <<'PYTHON'
import sys
from kubeflow_trainer_api.models import TrainerV1alpha1UpdateTrainJobStatusRequest as Request

text = '{"trainerStatus": {"progressPercentage": 45, "lastUpdatedTime": "2026-11-25T10:15:00Z"}}'
request = Request.from_json(text)
print(sys.argv[1], "to_dict:", request.to_dict())
print(sys.argv[1], "model_dump_json:", request.model_dump_json(by_alias=True, exclude_none=True))
try:
    print(sys.argv[1], "to_json:", request.to_json())
except TypeError as error:
    print(sys.argv[1], "to_json:", error)
else:
    sys.exit("to_json works now")
PYTHON
done
