"""
What is released: its files, and that it installs and works, without extras and with each of them alone.

Packages come from the index that pip knows, in the versions of requirements.lock, and each file that pip took has a hash that
is locked. Every extra takes an environment of its own: those are tried with ``make wheels``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import pytest

import mlssocial

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
FOLDERS = ["mlssocial", "docs", "tests", "tools", "benchmarks", "examples"]
FILES = ["*.md", "LICENSE", "MANIFEST.in", "Makefile", "setup.cfg", "pyproject.toml", "requirements.lock", "conftest.py"]

WRITES = """
import mlssocial
from mlssocial import Listing, ListingData
mlssocial.configure(endpoint_url="local:")
assert mlssocial.create_table()
assert Listing.objects.create("u1", "l1", ListingData(status="active", price=1)).gsi2pk == "USER#u1#STATUS#active"
"""
SEALS = """
import mlssocial
from mlssocial import crypto, tokens
mlssocial.configure(table_name="homes", token_keys={"k1": mlssocial.new_token_key()})
place = crypto.Place.of(("USER#u1", "SOCIAL#FACEBOOK"), "accessToken")
sealed = crypto.seal(mlssocial.Token("EAAB..."), place)
assert sealed.stored.startswith("enc:v1:k1:") and place.open(sealed.stored) == "EAAB..."
"""
RUNS_ON_A_CLUSTER = """
from distributed import LocalCluster
from mlssocial import workers
import mlssocial
mlssocial.configure(table_name="homes", region="us-east-1")
if __name__ == "__main__":
    with LocalCluster(1, processes=False, dashboard_address=None, protocol="tcp") as cluster:
        with workers.opened(cluster.scheduler_address.replace("tcp", "dask"), 1) as pool:
            assert pool.submit(pow, 2, 5).result() == 32
"""
READS_A_SERVER = """
import json, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from mlssocial.reso import Server
from mlssocial.reso.sources import Ledger

class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"value": [{"ListingKey": "K1", "StandardStatus": "Active"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

api = HTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
server = Server(url=f"http://127.0.0.1:{api.server_port}/Property")
(record,) = [step.record for step in server.steps(None, Ledger({}, lambda: None)) if step.record]
assert record.fields["ListingKey"] == "K1"
"""
COMMANDS = """
import subprocess, sys
from pathlib import Path
command = Path(sys.executable).with_name("mlssocial")
where = ["--endpoint", "local:homes.db"]
def run(*words, **how):
    done = subprocess.run([command, *where, *words], capture_output=True, text=True, **how)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout
"""
DEMO = COMMANDS + "assert '12 questions' in run('demo'); assert 'made' in run('init')"
PLOTS = (
    COMMANDS
    + """
run("init")
import mlssocial
mlssocial.configure(endpoint_url="local:homes.db")
mlssocial.PerformanceMetrics.objects.increment("u1", "l1", "2024-03-01", "facebook", views=3)
run("metrics", "--user", "u1", "--listing", "l1", "--output", "views.svg")
assert "<svg" in Path("views.svg").read_text()
"""
)
PROMPTS = (
    COMMANDS
    + "assert 'IPython' in run('shell', input='import sys; print([n for n in sys.modules if n == \"IPython\"])\\nexit\\n')"
)
BUILDS = "import furo, myst_parser, sphinx, mlssocial.keys"

PROMISES = {
    "local": WRITES,
    "cli": DEMO,
    "crypto": SEALS,
    "dask": RUNS_ON_A_CLUSTER,
    "reso": READS_A_SERVER,
    "plot": PLOTS,
    "shell": PROMPTS,
    "django": "import mlssocial.django",
    "flask": "import flask, mlssocial.flask; mlssocial.flask.MLSSocial",
    "fastapi": "import mlssocial.fastapi",
    "browse": COMMANDS + "assert '--help' in run('browse', '--help')",
    "docs": BUILDS,
}
"""What each extra makes possible by itself, as a script that fails where it does not."""

MODULES = {"django": "django", "flask": "flask", "fastapi": "fastapi", "browse": "browse"}
"""The extras that are for a module of their own."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with an sdist of this checkout, and the wheel that is built of that sdist."""
    home = tmp_path_factory.mktemp("released")
    source = home / "source"
    source.mkdir()
    leftovers = shutil.ignore_patterns("__pycache__", "_build", "*.egg-info")
    for path in [path for pattern in FOLDERS + FILES for path in ROOT.glob(pattern)]:
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=leftovers)
        else:
            shutil.copy(path, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(home / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "dist"


@pytest.fixture(scope="module")
def wheel(released: Path) -> Path:
    """Give the wheel."""
    (wheel,) = released.glob("*.whl")
    return wheel


class Environment:
    """A fresh virtual environment with the wheel in it."""

    def __init__(self, home: Path, wheel: Path, extra: str = "") -> None:
        venv.create(home / "venv", with_pip=False)
        self.home = home
        self.python = home / "venv" / "bin" / "python"
        pins = home / "pins.txt"
        pins.write_text("\n".join(re.findall(r"^[a-z0-9-]+==[^\\\n]+", LOCK.read_text(), re.MULTILINE)))
        options = ["--quiet", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", f"--report={home / 'report'}"]
        what = [f"--constraint={pins}", f"{wheel}[{extra}]" if extra else str(wheel)]
        command = [sys.executable, "-m", "pip", f"--python={self.python}", "install", *options, *what]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads((home / "report").read_text())
        taken = {one["metadata"]["name"]: one["download_info"]["archive_info"] for one in report["install"]}
        self.hashes = {name: archive["hashes"]["sha256"] for name, archive in taken.items() if name != "mlssocial"}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script there, with nothing configured."""
        path = self.home / "script.py"
        path.write_text(script)
        return subprocess.run(
            [self.python, "-W", "error", path],
            cwd=self.home,
            env={"HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )

    def check(self, script: str) -> None:
        """Run a script there that has to come to its end without a word."""
        done = self.run(script)
        assert (done.returncode, done.stderr) == (0, "")


class TestFiles:
    def test_of_the_wheel(self, wheel: Path) -> None:
        """The wheel has every module, py.typed, the demo's data and the license, and neither tests nor tools."""
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        assert {"mlssocial/py.typed", "mlssocial/demo/sacramento.json"} <= names
        package = Path(mlssocial.__file__).parent
        wanted = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert {str(path.relative_to(package.parent)) for path in wanted} <= names
        assert {name.split("/")[0].split("-")[0] for name in names} == {"mlssocial"}
        assert [name for name in names if name.endswith("licenses/LICENSE")] != []

    def test_of_the_sdist(self, released: Path) -> None:
        """The sdist has besides what is needed to test it, and to read about it."""
        (sdist,) = released.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        wanted = {"LICENSE", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "README.md", "conftest.py", "requirements.lock"}
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
        assert wanted - names == set()
        assert [name for name in names if name.endswith((".db", ".pyc")) or "/_build/" in name] == []

    def test_of_the_metadata(self, wheel: Path) -> None:
        """The metadata names the license, the README, the Python, and every extra."""
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
            metadata = Parser().parsestr(archive.read(name).decode())
        assert (metadata["License"] or metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
        assert metadata["Requires-Python"] == ">=3.11"
        assert metadata.get_payload() == (ROOT / "README.md").read_text()
        assert set(metadata.get_all("Provides-Extra", [])) == {*PROMISES, "dev"}


def test_every_extra_has_a_promise() -> None:
    """No extra is released that nobody has tried alone."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(setup["options.extras_require"]) - {"dev"} == set(PROMISES)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Give an environment with the wheel and no extra."""
    return Environment(tmp_path_factory.mktemp("bare"), wheel)


class TestWithoutExtras:
    def test_is_what_was_locked(self, bare: Environment) -> None:
        """What pip took beside the wheel are the files whose hashes are locked: few, and PynamoDB and pydantic among them."""
        locked = set(re.findall(r"sha256:([0-9a-f]{64})", LOCK.read_text()))
        assert {"pynamodb", "pydantic", "msgspec", "httptools", "botocore"} <= bare.hashes.keys()
        assert set(bare.hashes.values()) - locked == set()
        assert bare.hashes.keys() & {"click", "rich", "ministack", "cryptography", "boto3", "pytest"} == set()

    def test_imports(self, bare: Environment) -> None:
        """Every public name is there, and every module that is for no extra imports."""
        bare.check(
            "import mlssocial\nfor name in mlssocial.__all__: getattr(mlssocial, name)\nimport mlssocial.reso, mlssocial.kms"
        )

    @pytest.mark.parametrize(
        ("script", "extra"),
        [
            ("import mlssocial; mlssocial.configure(endpoint_url='local:'); mlssocial.create_table()", "local"),
            (SEALS, "crypto"),
            ("from mlssocial import workers\nwith workers.opened('dask://127.0.0.1:1', 1): pass", "dask"),
            (READS_A_SERVER, "reso"),
            ("from mlssocial.cli import main; main()", "cli"),
        ],
        ids=["local", "crypto", "dask", "reso", "cli"],
    )
    def test_says_which_extra_is_missing(self, bare: Environment, script: str, extra: str) -> None:
        """What needs an extra says how to install it."""
        done = bare.run(script)
        assert done.returncode == 1
        assert f"pip install 'mlssocial[{extra}]'" in done.stderr


@pytest.mark.parametrize("extra", sorted(PROMISES))
def test_each_extra_works_alone(wheel: Path, tmp_path: Path, soak: bool, extra: str) -> None:
    """In an environment with one extra alone, that extra does what it is for."""
    if not soak:
        pytest.skip("an environment for each extra takes minutes: make wheels")
    if extra in MODULES and find_spec(f"mlssocial.{MODULES[extra]}") is None:
        pytest.skip(f"mlssocial.{MODULES[extra]} is not there")
    environment = Environment(tmp_path, wheel, extra)
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", LOCK.read_text()))
    assert set(environment.hashes.values()) - locked == set()
    environment.check(PROMISES[extra])
