"""The Kubernetes manifests: valid by the schemas of the versions named, whole, and as careful as the compose file."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kubeflow_trainer_api import models
from kubernetes_validate import ValidationError, validate
from torch.distributed.run import get_args_parser

from api.app import create_app
from service import __version__
from service.config.loader import load_config
from service.config.settings import RunConfig
from service.errors import UserError
from tests.deploy.kubernetes.kustomization import KustomizationError, Manifest, build, documents

KUBERNETES = "1.36"
"""Version of the schemas; `restartPolicyRules` are there, and in no version before 1.34."""
FOLDERS = ("base", "monitoring", "jobset", "trainjob")
CUSTOM = {
    "JobSet": models.JobsetV1alpha2JobSet,
    "TrainJob": models.TrainerV1alpha1TrainJob,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
}
SECRET = {"API_TOKEN", "STORE_URL"}


class Pod(NamedTuple):
    """A pod template, and where it is from."""

    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    job: dict[str, Any]
    """The Job around it, if any."""


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "deploy" / "kubernetes"


def manifests(folder: Path) -> list[Manifest]:
    """Of all folders, each once."""
    return [
        item for path in sorted(folder.glob("*/*.yaml")) if path.stem != "kustomization" for item in documents(path)
    ]


def pods(folder: Path) -> Iterator[Pod]:
    for item in manifests(folder):
        spec = item["spec"]
        if item["kind"] == "Deployment":
            yield Pod(item["metadata"]["name"], spec["template"]["metadata"]["labels"], spec["template"]["spec"], {})
        if item["kind"] == "TrainingRuntime":
            spec = spec["template"]["spec"]
        for job in spec.get("replicatedJobs", ()):
            template = job["template"]["spec"]["template"]
            name = f"{item['kind']} {job['name']}"
            yield Pod(name, template["metadata"]["labels"], template["spec"], job["template"]["spec"])


def trainers(folder: Path) -> list[Pod]:
    found = [pod for pod in pods(folder) if pod.labels["app.kubernetes.io/component"] == "trainer"]
    assert len(found) == 2
    return found


def kept_by_model(item: Manifest) -> Manifest:
    """What the types of Kubeflow Trainer take over of a manifest: no field that they do not know."""
    model = CUSTOM[item["kind"]].from_dict(item)
    assert model is not None
    kept: Manifest = model.to_dict()
    return kept


def variables(pod: Pod) -> dict[str, str]:
    (container,) = pod.spec["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_and_folder_that_a_kustomization_names_is_there(folder: Path, name: str) -> None:
    built = build(folder / name)
    files = {path.name for path in (folder / name).glob("*.yaml")} - {"kustomization.yaml"}

    assert built
    assert files <= set(yaml.safe_load((folder / name / "kustomization.yaml").read_text())["resources"])


def test_the_reader_refuses_what_kustomize_refuses(folder: Path, tmp_path: Path) -> None:
    for resources in ('["missing.yaml"]', '["../outside.yaml"]'):
        (tmp_path / "outside.yaml").touch()
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "kustomization.yaml").write_text(f"resources: {resources}")
        with pytest.raises(KustomizationError, match=r"outside|does not exist"):
            build(tmp_path / "a")


def test_every_object_follows_the_schema_of_its_version(folder: Path) -> None:
    for item in manifests(folder):
        if item["kind"] in CUSTOM:
            assert kept_by_model(item) == item, item["kind"]
        elif item["kind"] != "ServiceMonitor":
            validate(item, KUBERNETES, strict=True)


def test_pods_of_custom_resources_follow_the_schema_too(folder: Path) -> None:
    for pod in pods(folder):
        if pod.job:
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": pod.job}
            validate(job, KUBERNETES, strict=True)


def test_the_checks_notice_a_misspelt_field(folder: Path) -> None:
    (deployment,) = [item for item in manifests(folder) if item["kind"] == "Deployment"]
    deployment["spec"]["replica"] = 2
    with pytest.raises(ValidationError, match="replica"):
        validate(deployment, KUBERNETES, strict=True)

    for kind in CUSTOM:
        (item,) = [item for item in manifests(folder) if item["kind"] == kind]
        item["spec"]["misspelt"] = 1
        assert kept_by_model(item) != item


def test_no_pod_takes_the_address_of_a_service_for_a_setting(folder: Path) -> None:
    """Kubernetes gives pods LEITSTAND_API_PORT=tcp://… of a Service `leitstand-api`, unless it is told not to."""
    assert {pod.name: pod.spec["enableServiceLinks"] for pod in pods(folder)} == dict.fromkeys(
        [pod.name for pod in pods(folder)], False
    )


def test_no_pod_runs_as_root_or_writes_into_its_image(folder: Path) -> None:
    for pod in pods(folder):
        assert pod.spec["securityContext"]["runAsNonRoot"] is True, pod.name
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        for container in pod.spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, pod.name


def test_whatever_a_pod_refers_to_is_there(folder: Path) -> None:
    built = build(folder / "jobset") + build(folder / "trainjob")
    names = {(item["kind"], item["metadata"]["name"]) for item in built}
    for pod in pods(folder):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
        (container,) = pod.spec["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        references = [item["valueFrom"]["secretKeyRef"] for item in container["env"] if "valueFrom" in item]
        assert {reference["name"] for reference in references} <= {"leitstand"}
        assert {reference["key"] for reference in references} <= SECRET


def test_containers_get_settings_that_are_accepted(folder: Path) -> None:
    tomllib.loads((folder / "base" / "run.toml").read_text())
    for pod in pods(folder):
        given = variables(pod)
        (container,) = pod.spec["containers"]
        assert given.get("LEITSTAND_CONFIG", "/etc/leitstand/run.toml") == "/etc/leitstand/run.toml"
        config = load_config(folder / "base" / "run.toml", (), given).config
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        used = config.dataset_root if pod.name.endswith("prepare") else config.data_root
        assert any(used.is_relative_to(place) for place in places), pod.name


def test_a_trainer_is_started_again_in_its_pod_unless_it_is_finished_or_refused(folder: Path) -> None:
    for pod in trainers(folder):
        (container,) = pod.spec["containers"]
        final = [0, UserError.exit_code]
        assert (pod.spec["restartPolicy"], container["restartPolicy"]) == ("Never", "Never")
        assert container["restartPolicyRules"] == [
            {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": final}}
        ]
        refused, disrupted = pod.job["podFailurePolicy"]["rules"]
        assert refused["action"] == "FailJob"
        assert refused["onExitCodes"] == {
            "containerName": container["name"],
            "operator": "In",
            "values": [UserError.exit_code],
        }
        assert disrupted["action"] == "Ignore"


def test_what_is_refused_ends_the_whole_set(folder: Path) -> None:
    sets = [item["spec"] for item in manifests(folder) if item["kind"] == "JobSet"]
    sets += [item["spec"]["template"]["spec"] for item in manifests(folder) if item["kind"] == "TrainingRuntime"]

    assert len(sets) == 2
    for spec in sets:
        (rule,) = spec["failurePolicy"]["rules"]
        assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_a_stop_leaves_time_to_save(folder: Path) -> None:
    for pod in trainers(folder):
        assert 30 < int(variables(pod)["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < pod.spec["terminationGracePeriodSeconds"]


def test_torchrun_takes_its_arguments_and_meets_at_the_first_pod(folder: Path) -> None:
    for pod in trainers(folder):
        (container,) = pod.spec["containers"]
        assert container["command"][:3] == ["python", "-m", "service.launcher.torchrun"]
        given = get_args_parser().parse_args(container["command"][3:])
        assert (given.module, given.training_script) == (True, "ddp")
        assert given.training_script_args == ["--config=/etc/leitstand/run.toml", "--resume"]
        if pod.name.startswith("JobSet"):
            assert given.rdzv_endpoint == "leitstand-trainer-0-0.leitstand:29400"
            assert (given.nnodes, pod.job["completions"], pod.job["parallelism"]) == ("2", 2, 2)
            assert int(given.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]


def test_labels_lead_from_service_budget_network_and_monitor_to_the_pods(folder: Path) -> None:
    found = {(item["kind"], item["metadata"]["name"]): item for item in manifests(folder)}
    labels = {pod.name: pod.labels for pod in pods(folder)}
    api, service = labels["leitstand-api"], found["Service", "leitstand-api"]
    monitor = found["ServiceMonitor", "leitstand-api"]["spec"]
    selectors = [
        service["spec"]["selector"],
        found["PodDisruptionBudget", "leitstand-api"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy", "leitstand-api"]["spec"]["podSelector"]["matchLabels"],
        found["Deployment", "leitstand-api"]["spec"]["selector"]["matchLabels"],
    ]

    assert all(selector.items() <= api.items() for selector in selectors)
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "leitstand"
    trained = found["NetworkPolicy", "leitstand-trainer"]["spec"]["podSelector"]["matchLabels"]
    assert all(trained.items() <= pod.labels.items() for pod in trainers(folder))


def test_probes_and_monitor_ask_for_routes_that_there_are_at_a_port_that_there_is(folder: Path) -> None:
    adapter = create_app(RunConfig()).url_map.bind("127.0.0.1")
    (api,) = [pod for pod in pods(folder) if pod.name == "leitstand-api"]
    (container,) = api.spec["containers"]
    (monitor,) = [item for item in manifests(folder) if item["kind"] == "ServiceMonitor"]
    (endpoint,) = monitor["spec"]["endpoints"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert {probe["path"] for probe in probes} == {"/livez"}, "/readyz is ready only while a training runs"
    for probe in (*probes, endpoint):
        adapter.match(probe["path"], method="GET")
        assert str(ports[probe["port"]]) == variables(api)["LEITSTAND_API_PORT"]
    assert endpoint["authorization"]["credentials"] == {"name": "leitstand", "key": "API_TOKEN"}


def test_images_are_those_of_this_version(folder: Path) -> None:
    images = [container["image"] for pod in pods(folder) for container in pod.spec["containers"]]

    assert {image.partition(":")[2] for image in images} == {__version__}
    assert {image.partition(":")[0] for image in images} == {"leitstand-api", "leitstand-trainer"}


def test_a_trainjob_names_its_trainer_and_its_runtime(folder: Path) -> None:
    found = {item["kind"]: item for item in documents(folder / "trainjob" / "trainjob.yaml")}
    (runtime,) = documents(folder / "trainjob" / "runtime.yaml")
    node = runtime["spec"]["template"]["spec"]["replicatedJobs"][-1]

    assert found["TrainJob"]["spec"]["runtimeRef"] == {"kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    assert found["TrainJob"]["spec"]["trainer"]["numNodes"] == 1
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert node["template"]["spec"]["template"]["spec"]["containers"][0]["name"] == node["name"] == "node"
    assert re.fullmatch(r"[a-z-]+", runtime["metadata"]["name"])
