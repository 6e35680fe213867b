"""A real MLflow server on loopback, and what its users do: upload files, create versions, move aliases and stages."""
import base64
import hashlib
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# The first start compiles all that MLflow imports.
START_SECS = 240
REQUEST_SECS = 120
ADMIN, PASSWORD = "admin", "correct-horse-battery"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Mlflow:
    """An MLflow server in a directory, which it goes on with after a kill."""

    def __init__(self, directory, prefix="", basic_auth=False, certificates=None):
        self.directory, self.prefix, self.basic_auth = pathlib.Path(directory), prefix, basic_auth
        self.certificates, self.tls = certificates, None
        if certificates:
            self.tls = ssl.create_default_context(cafile=certificates / "ca.pem")
            self.tls.load_cert_chain(certificates / "box.pem")
        self.port, self.process = free_port(), None
        self.authorization = None
        if basic_auth:
            pair = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
            self.authorization = f"Basic {pair}"

    @property
    def uri(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{self.prefix}"

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true",
                           MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", PYTHONWARNINGS="ignore")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db",
                   "--serve-artifacts", "--artifacts-destination", str(self.directory / "artifacts")]
        if self.prefix:
            command += ["--static-prefix", self.prefix]
        if self.basic_auth:
            settings = self.directory / "auth.ini"
            settings.write_text(
                "[mlflow]\ndefault_permission = READ\n"
                f"database_uri = sqlite:///{self.directory}/auth.db\n"
                f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n")
            environment.update(MLFLOW_AUTH_CONFIG_PATH=str(settings), MLFLOW_FLASK_SERVER_SECRET_KEY="rig")
            command += ["--app-name", "basic-auth"]
        if self.certificates:
            files = {"certfile": "server.pem", "ca-certs": "ca.pem"}
            options = [f"--ssl-{name} {self.certificates / file}" for name, file in files.items()]
            command += ["--uvicorn-opts", " ".join([*options, f"--ssl-cert-reqs {ssl.CERT_REQUIRED.value}"])]
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_SECS
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                self.end(signal.SIGKILL)
                raise RuntimeError(f"MLflow did not start, see {self.directory}/server.log")
            time.sleep(0.2)
        return self

    def _is_up(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2, context=self.tls) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self, how=signal.SIGTERM):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, how)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def raw(self, method, path, body=None, kind="application/octet-stream"):
        request = urllib.request.Request(self.uri + path, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", kind)
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        with urllib.request.urlopen(request, timeout=REQUEST_SECS, context=self.tls) as answer:
            return answer.read()

    def call(self, method, path, **arguments):
        path = f"/api/2.0/mlflow/{path}"
        if method == "GET":
            return json.loads(self.raw("GET", f"{path}?{urllib.parse.urlencode(arguments)}"))
        return json.loads(self.raw(method, path, json.dumps(arguments).encode(), "application/json") or b"{}")

    def register(self, model, files, tag_sum=None, alone=False):
        """Makes the next version of a model of files (name: bytes), and gives its number. `alone`: the version's
        source is its one file itself."""
        run = self.call("POST", "runs/create", experiment_id="0", start_time=int(time.time() * 1000))["run"]["info"]
        root = run["artifact_uri"].split("mlflow-artifacts:/", 1)[1].lstrip("/")
        for name, data in files.items():
            self.raw("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{root}/onnx/{urllib.parse.quote(name)}", data)
        try:
            self.call("POST", "registered-models/create", name=model)
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
        source = f"{run['artifact_uri']}/onnx" + (f"/{next(iter(files))}" if alone else "")
        version = self.call("POST", "model-versions/create", name=model, source=source, run_id=run["run_id"])
        version = version["model_version"]["version"]
        if tag_sum:
            self.call("POST", "model-versions/set-tag", name=model, version=version, key="sha256", value=tag_sum)
        return version

    def log_model(self, model, path):
        """Registers an ONNX file as people do, by mlflow.onnx.log_model: its weights go to a file of their own."""
        code = ("import mlflow, onnx, sys\n"
                "uri, name, path = sys.argv[1:]\n"
                "mlflow.set_tracking_uri(uri)\n"
                "with mlflow.start_run():\n"
                "    info = mlflow.onnx.log_model(onnx.load(path), name='model', registered_model_name=name,\n"
                "                                 pip_requirements=['onnxruntime'])\n"
                "print(info.registered_model_version)\n")
        environment = dict(os.environ, MLFLOW_DISABLE_TELEMETRY="true", PYTHONWARNINGS="ignore")
        done = subprocess.run([sys.executable, "-c", code, self.uri, model, str(path)], env=environment, check=True,
                              capture_output=True, text=True)
        return done.stdout.strip().splitlines()[-1]

    def alias(self, model, alias, version):
        self.call("POST", "registered-models/alias", name=model, alias=alias, version=version)

    def stage(self, model, stage, version):
        self.call("POST", "model-versions/transition-stage", name=model, version=version, stage=stage,
                  archive_existing_versions=True)


def certificates(directory):
    """An authority, a server of 127.0.0.1 and a client, each with its key in one file."""
    directory.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*new, "-x509", "-days", "30", "-subj", "/CN=rig", "-keyout", "ca.key", "-out", "ca.pem")
    (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for name in ("server", "box"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", "extensions", "-out", f"{name}.crt")
        parts = [(directory / f"{name}.{part}").read_text() for part in ("crt", "key")]
        (directory / f"{name}.pem").write_text("".join(parts))
    return directory


def sum_of(data):
    return hashlib.sha256(data).hexdigest()
