"""Kubernetes: pods of the application, and a service before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts import nginx
from gatebridge.fronts.docker import RUN, USER, bind_of, socket_folder, words
from gatebridge.fronts.lines import because, indented, text, whole_seconds
from gatebridge.fronts.place import unsupported
from gatebridge.fronts.yaml_text import listed, quoted

if TYPE_CHECKING:
    from gatebridge.fronts.place import Place

FORMS = ("deployment", "sidecar")
_PORT = 8080  # of nginx in a pod, where nobody may take one below 1024
_GRACE_S = 15.0  # what Kubernetes waits longer than the daemon does: the pause is among it
_PAUSE_S = 5  # until nobody sends to a pod that ends
_MOUNTED = {"tmp": "/tmp", "run": RUN}


def config(place: Place, form: str = "") -> str:
    """A Deployment and a Service: of the application alone, or with nginx in the same pod.

    raises  ConfigError("conf.…")
    """
    form = form or ("sidecar" if bind_of(place).family == "unix" else FORMS[0])
    if form not in FORMS:
        raise ConfigError("conf.form", f"Kubernetes has no form {form!r}: {', '.join(FORMS)}")
    if form == "deployment":
        if bind_of(place).family != "tcp":
            instead = "bind fcgi://127.0.0.1:9000, or take the form sidecar"
            raise unsupported("Kubernetes", "reach a Unix socket of another pod", instead)
        port = bind_of(place).port
        parts = [_deployment(place, ""), _service(place, port, port)]
    else:
        _check_sidecar(place)
        beside = replace(place, listen=str(_PORT))
        service = _service(place, place.door.port, _PORT)
        parts = [_nginx_file(beside), _deployment(beside, "nginx"), service]
    return text([line for part in parts for line in ("---", *part)])


def _check_sidecar(place: Place) -> None:
    """raises ConfigError("conf.unsupported")"""
    if bind_of(place).family != "unix":
        why = "put nginx beside a TCP socket"
        raise unsupported("The form sidecar", why, f"bind unix:/run/{place.name}/sock")
    if place.tls or place.static:
        why = "bring files of this machine into a pod"
        raise unsupported("Kubernetes", why, "leave --tls to the Ingress and --static to an image")


def _name(place: Place) -> str:
    """Letters are small there, and _ is none."""
    return place.name.lower().replace("_", "-").rstrip("-")[:63]


def _head(kind: str, version: str, place: Place) -> list[str]:
    name = _name(place)
    return [
        f"apiVersion: {version}",
        f"kind: {kind}",
        f"metadata: {{name: {quoted(name)}, labels: {{app: {quoted(name)}}}}}",
    ]


def _service(place: Place, port: int, target: int) -> list[str]:
    name = _name(place)
    return [
        *_head("Service", "v1", place),
        "spec:",
        f"  selector: {{app: {quoted(name)}}}",
        "  ports:",
        f"    - {{port: {port}, targetPort: {target}}}",
    ]


def _nginx_file(place: Place) -> list[str]:
    return [
        *_head("ConfigMap", "v1", place),
        "data:",
        "  default.conf: |",
        *indented(nginx.config(place).splitlines()),
    ]


def _deployment(place: Place, front: str) -> list[str]:
    name = _name(place)
    stop = whole_seconds(place.start.stop + _GRACE_S)
    mounted = dict(_MOUNTED)
    if front:
        mounted["socket"] = socket_folder(place)
    pod = [
        *because("longer than --graceful-timeout and the pause before it",
                 f"terminationGracePeriodSeconds: {stop}"),
        "automountServiceAccountToken: false",
        *because("the sockets and files of a pod are this group's",
                 f"securityContext: {{runAsNonRoot: true, fsGroup: {USER}, "
                 "seccompProfile: {type: RuntimeDefault}}"),
        "containers:",
        *_item(_container(place, mounted)),
        *(_item(_nginx_container(place, mounted["socket"])) if front else []),
        "volumes:",
        *[f"  - {{name: {volume}, emptyDir: {{}}}}" for volume in mounted],
    ]  # fmt: skip
    if front:
        pod += [f"  - {{name: nginx, configMap: {{name: {quoted(name)}}}}}",
                "  - {name: nginx-cache, emptyDir: {}}"]  # fmt: skip
    return [
        *_head("Deployment", "apps/v1", place),
        "spec:",
        "  replicas: 2",
        f"  selector: {{matchLabels: {{app: {quoted(name)}}}}}",
        "  # a new pod is ready before an old one leaves",
        "  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}",
        "  template:",
        f"    metadata: {{labels: {{app: {quoted(name)}}}}}",
        "    spec:",
        *indented(pod, "      "),
    ]


def _item(lines: list[str]) -> list[str]:
    """A mapping as an entry of a list."""
    return [f"  - {lines[0]}", *indented(lines[1:])]


def _safe(user: int) -> list[str]:
    return because(
        "it needs nothing of root's, and writes nowhere but to the volumes",
        f"securityContext: {{runAsUser: {user}, allowPrivilegeEscalation: false, "
        "readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}",
    )


def _pause() -> list[str]:
    return because(
        "requests still arrive until every node knows that the pod ends",
        f"lifecycle: {{preStop: {{exec: {{command: {listed(['sleep', str(_PAUSE_S)])}}}}}}}",
    )


def _container(place: Place, mounted: dict[str, str]) -> list[str]:
    bind = bind_of(place)
    port = [f"ports: [{{containerPort: {bind.port}}}]"] if bind.family == "tcp" else []
    ping, status = listed(["gatebridge", "ping"]), listed(["gatebridge", "status", "--json"])
    return [
        f"name: {quoted(_name(place))}",
        *because("of gatebridge conf docker", f"image: {quoted(_name(place) + ':latest')}"),
        f"command: {listed(words(place))}",
        *port,
        *because("the application may take a while to load",
                 f"startupProbe: {{exec: {{command: {ping}}}, periodSeconds: 2, "
                 "failureThreshold: 60}"),
        *because("requests come while a worker is ready",
                 f"readinessProbe: {{exec: {{command: {ping}}}, periodSeconds: 5, "
                 "timeoutSeconds: 3}"),
        *because("it is restarted when the supervisor is silent; stuck workers are its business",
                 f"livenessProbe: {{exec: {{command: {status}}}, periodSeconds: 20, "
                 "timeoutSeconds: 5}"),
        *_pause(),
        *_safe(USER),
        "volumeMounts:",
        *[f"  - {{name: {name}, mountPath: {quoted(path)}}}" for name, path in mounted.items()],
    ]  # fmt: skip


def _nginx_container(place: Place, socket: str) -> list[str]:
    port = place.door.port
    image = "nginxinc/nginx-unprivileged:stable"
    lines = [
        "name: nginx",
        *because("it runs without root, so the Service leads to a port above 1024",
                 f"image: {image}"),
        f"ports: [{{containerPort: {port}}}]",
        f"readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 5}}",
        *_pause(),
        *_safe(101),
        "volumeMounts:",
        "  - {name: nginx, mountPath: /etc/nginx/conf.d}",
        "  - {name: nginx-cache, mountPath: /tmp}",
        f"  - {{name: socket, mountPath: {quoted(socket)}}}",
    ]  # fmt: skip
    return lines
