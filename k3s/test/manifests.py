#!/usr/bin/env python3
"""Holds the manifests of k3s/ to the schemas of every Kubernetes that they are for, to Pod Security's
`restricted`, and to themselves: names that are referred to exist, numbers fit together.

    manifests.py KUBECTL

Every rule is tried on a broken copy first: one that finds nothing wrong there fails the run.
"""
import copy
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

K3S = pathlib.Path(__file__).resolve().parent.parent
# The oldest that knows preStop's `sleep` unasked; the newest that kubernetes-validate has.
OLDEST = (1, 30)
NEWEST = tuple(int(part) for part in kubernetes_validate.latest_version().split(".")[:2])
VERSIONS = [f"1.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]

# The limit of the daemon's own drain, [api] drain_timeout.
DRAIN_SECS = 10
# What issues and runbooks state of the probes: path, period, failures.
PROBES = {"startupProbe": ("/health", 5, 30), "livenessProbe": ("/health", 10, 3), "readinessProbe": ("/ready", 5, 2)}
# Of an image that is named by it.
DIGEST = "sha256:" + "0123456789abcdef" * 4
# Volumes that `restricted` allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def render(kubectl: str, folder: pathlib.Path) -> list[dict]:
    run = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(run.stdout))


def render_with(kubectl: str, overlay: str, components: list[str]) -> list[dict]:
    """An overlay with components on top, as a user would write it."""
    with tempfile.TemporaryDirectory(dir=K3S / "test") as folder:
        def relative(path: pathlib.Path) -> str:
            return os.path.relpath(path, folder)
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                         "resources": [relative(K3S / "overlays" / overlay)],
                         "components": [relative(K3S / "components" / name) for name in components]}
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return render(kubectl, pathlib.Path(folder))


def render_by_digest(kubectl: str) -> list[dict]:
    """The overlay that ./dev image writes for a release."""
    # Not below k3s/, which kustomize would take for a circle.
    with tempfile.TemporaryDirectory(dir=K3S.parent) as folder:
        subprocess.run([K3S / "by_digest.sh", DIGEST, folder], check=True)
        return render(kubectl, pathlib.Path(folder))


def of_kind(objects: list[dict], *kinds: str) -> list[dict]:
    return [o for o in objects if o["kind"] in kinds]


def workload(objects: list[dict]) -> dict:
    (found,) = of_kind(objects, "Deployment", "DaemonSet")
    return found


def pod_spec(objects: list[dict]) -> dict:
    return workload(objects)["spec"]["template"]["spec"]


def schema(objects: list[dict], versions: list[str]):
    for version, o in itertools.product(versions, objects):
        try:
            kubernetes_validate.validate(o, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{o['kind']}/{o['metadata']['name']} in {version}: {error.message} at {list(error.path)}"


def restricted(objects: list[dict]):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, baseline and restricted."""
    spec = pod_spec(objects)
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is of kind {kind}"
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        def effective(key: str):
            return own.get(key, pod.get(key))
        capabilities = own.get("capabilities", {})
        faults = {
            "it may run as root": effective("runAsNonRoot") is not True or effective("runAsUser") == 0,
            "no seccomp profile": (effective("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "it may gain privileges": own.get("allowPrivilegeEscalation") is not False,
            "it is privileged": own.get("privileged", False),
            "it keeps capabilities": capabilities.get("drop") != ["ALL"] or capabilities.get("add"),
            "a port of the host": any("hostPort" in port for port in container.get("ports", [])),
            # Not of the standard, but of ours.
            "its root can be written to": own.get("readOnlyRootFilesystem") is not True,
        }
        yield from (f"container {container['name']}: {what}" for what, is_so in faults.items() if is_so)
    for namespace in of_kind(objects, "Namespace"):
        for mode in ("enforce", "warn", "audit"):
            if namespace["metadata"]["labels"].get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                yield f"the namespace does not {mode} restricted"


def coherent(objects: list[dict]):
    spec, names = pod_spec(objects), {(o["kind"], o["metadata"]["name"]) for o in objects}
    (container,) = spec["containers"]
    wanted = [("ServiceAccount", spec["serviceAccountName"]), ("PriorityClass", spec["priorityClassName"])]
    for volume in spec["volumes"]:
        if "configMap" in volume:
            wanted.append(("ConfigMap", volume["configMap"]["name"]))
        if "persistentVolumeClaim" in volume:
            wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    yield from (f"there is no {kind} {name}" for kind, name in wanted if (kind, name) not in names)

    ports = {port["name"] for port in container["ports"]}
    labels = workload(objects)["spec"]["template"]["metadata"]["labels"]
    for service in of_kind(objects, "Service"):
        name = service["metadata"]["name"]
        yield from (f"Service {name}: no port {port['targetPort']}"
                    for port in service["spec"]["ports"] if port["targetPort"] not in ports)
        if not service["spec"]["selector"].items() <= labels.items():
            yield f"Service {name} finds no pod"
        if service["spec"].get("ipFamilyPolicy") != "PreferDualStack":
            yield f"Service {name} does without one of the cluster's IP families"
    yield from guarded(objects, ports)
    for kind in ("requests", "limits"):
        if "ephemeral-storage" not in container["resources"][kind]:
            yield f"{kind} say nothing of the node's disk"

    for kind, (path, period, failures) in PROBES.items():
        probe = container[kind]
        stated = (probe["httpGet"]["path"], probe["periodSeconds"], probe["failureThreshold"])
        if stated != (path, period, failures) or probe["httpGet"]["port"] != "probe":
            yield f"{kind} asks {stated} on {probe['httpGet']['port']}"
        if not 1 < probe.get("timeoutSeconds", 1) < period:
            yield f"{kind} waits {probe.get('timeoutSeconds', 'unstated')} s"
    pre_stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = spec["terminationGracePeriodSeconds"]
    if grace < pre_stop + DRAIN_SECS + 2:
        yield f"a grace of {grace} s for {pre_stop} s of preStop and {DRAIN_SECS} s of drain"

    version = re.search(r'^version = "(.*)"', (K3S.parent / "Cargo.toml").read_text(), re.M)[1]
    images = (f"localhost/picket:{version}", f"localhost/picket@{DIGEST}")
    if container["image"] not in images or labels["app.kubernetes.io/version"] != version:
        yield f"image {container['image']} and label {labels['app.kubernetes.io/version']}, this is {version}"
    if workload(objects)["spec"].get("strategy", {}).get("type") == "RollingUpdate":
        yield "two pods would want the log"


def guarded(objects: list[dict], ports: set[str]):
    """What NetworkPolicies say: nothing is allowed that no rule names, and every rule names who."""
    policies = of_kind(objects, "NetworkPolicy")
    def denies(spec: dict) -> bool:
        return (spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"}
                and not spec.get("ingress") and not spec.get("egress"))
    if not any(denies(policy["spec"]) for policy in policies):
        yield "no NetworkPolicy denies by default"
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            yield from (f"NetworkPolicy: no port {port['port']}" for port in rule["ports"] if port["port"] not in ports)
            if not rule.get("from") or {} in rule["from"]:
                yield f"NetworkPolicy: anybody may reach {[port['port'] for port in rule['ports']]}"


def without_components(objects: list[dict]):
    """What all components together bring, and is not here."""
    spec = pod_spec(objects)
    (container,) = spec["containers"]
    if spec.get("hostUsers") is not False:
        yield "user-namespace: the pod's users are the node's"
    files = {variable["name"]: variable.get("value") for variable in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    if files.get("PICKET_API_TOKEN_FILE") != f"{mounts.get('token')}/token" or "token" not in secrets:
        yield "token: no token is asked for"
    elif secrets["token"].get("optional") or secrets["token"]["defaultMode"] != 0o440:
        yield "token: everybody may read it, or the pod starts without it"
    sources = str([p["spec"]["ingress"][0]["from"] for p in of_kind(objects, "NetworkPolicy") if "ingress" in p["spec"]])
    yield from (f"{name}: nobody gets in that way" for name, source in
                (("ingress", "'kube-system'"), ("load-balancer", "'192.168.0.0/16'")) if source not in sources)


def complaints(objects: list[dict], versions: list[str]) -> list[str]:
    return [*schema(objects, versions), *restricted(objects), *coherent(objects)]


def breaks(objects: list[dict]):
    """Broken copies, each with a part of the complaint that must come."""
    def broken(change) -> list[dict]:
        copied = copy.deepcopy(objects)
        change(copied)
        return copied
    def spec(o): return pod_spec(o)
    def container(o): return spec(o)["containers"][0]
    def service(o): return of_kind(o, "Service")[0]["spec"]
    yield "Additional properties", broken(lambda o: container(o).update(livnessProbe={}))
    yield "is not of type", broken(lambda o: workload(o)["spec"].update(minReadySeconds="soon"))
    yield "may run as root", broken(lambda o: spec(o)["securityContext"].update(runAsUser=0))
    yield "no seccomp", broken(lambda o: spec(o)["securityContext"].pop("seccompProfile"))
    yield "gain privileges", broken(lambda o: container(o)["securityContext"].pop("allowPrivilegeEscalation"))
    yield "keeps capabilities", broken(lambda o: container(o)["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["SYS_TIME"]}))
    yield "written to", broken(lambda o: container(o)["securityContext"].pop("readOnlyRootFilesystem"))
    yield "of kind hostPath", broken(lambda o: spec(o)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}))
    yield "hostNetwork", broken(lambda o: spec(o).update(hostNetwork=True))
    yield "port of the host", broken(lambda o: container(o)["ports"][0].update(hostPort=8000))
    yield "does not enforce", broken(lambda o: of_kind(o, "Namespace")[0]["metadata"]["labels"].clear())
    yield "no ConfigMap", broken(lambda o: of_kind(o, "ConfigMap")[0]["metadata"].update(name="other"))
    yield "no port htpp", broken(lambda o: service(o)["ports"][0].update(targetPort="htpp"))
    yield "finds no pod", broken(lambda o: service(o).update(selector={"app.kubernetes.io/name": "pickets"}))
    def policy(o, name): return next(p["spec"] for p in of_kind(o, "NetworkPolicy") if p["metadata"]["name"] == name)
    yield "no port htpp", broken(lambda o: policy(o, "picket")["ingress"][0]["ports"][0].update(port="htpp"))
    yield "anybody may reach ['api']", broken(lambda o: policy(o, "picket")["ingress"][0].pop("from"))
    yield "denies by default", broken(lambda o: policy(o, "default-deny").update(podSelector={"matchLabels": {"a": "b"}}))
    yield "denies by default", broken(lambda o: policy(o, "default-deny").update(policyTypes=["Ingress"]))
    yield "limits say nothing", broken(lambda o: container(o)["resources"]["limits"].pop("ephemeral-storage"))
    yield "IP families", broken(lambda o: service(o).pop("ipFamilyPolicy"))
    yield "livenessProbe asks", broken(lambda o: container(o)["livenessProbe"].update(failureThreshold=1))
    yield "readinessProbe waits", broken(lambda o: container(o)["readinessProbe"].pop("timeoutSeconds"))
    yield "of drain", broken(lambda o: spec(o).update(terminationGracePeriodSeconds=10))
    yield "this is", broken(lambda o: container(o).update(image="localhost/picket:latest"))


def main() -> None:
    kubectl = sys.argv[1]
    components = sorted(path.name for path in (K3S / "components").iterdir())
    rendered = {"k3s": render(kubectl, K3S), "by digest": render_by_digest(kubectl)}
    for overlay in sorted(path.name for path in (K3S / "overlays").iterdir()):
        rendered[overlay] = render_with(kubectl, overlay, [])
        rendered[f"{overlay} with {', '.join(components)}"] = render_with(kubectl, overlay, components)

    failed = 0
    by_digest = pod_spec(rendered["by digest"])["containers"][0]["image"]
    if by_digest != f"localhost/picket@{DIGEST}":
        failed += 1
        print(f"FAILED by digest: the image is {by_digest}")
    for expected, objects in breaks(rendered["k3s"]):
        if not any(expected in complaint for complaint in complaints(objects, VERSIONS[-1:])):
            failed += 1
            print(f"FAILED: nothing complains of {expected!r} in a broken copy")
    lacking = list(without_components(rendered["k3s"]))
    if len(lacking) != len(components):
        failed += 1
        print(f"FAILED: of {components} the base lacks no more than {lacking}")
    for name, objects in rendered.items():
        found = complaints(objects, VERSIONS)
        if "with" in name:
            found += without_components(objects)
        failed += len(found)
        for complaint in found:
            print(f"FAILED {name}: {complaint}")
        if not found:
            print(f"ok {name}: {len(objects)} objects, Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}, restricted")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
