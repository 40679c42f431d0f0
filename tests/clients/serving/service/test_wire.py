"""What is generated is what the protocol says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.serving.service.calls import CALLS, SERVICE
from clients.serving.wire import serving_pb2 as pb

ROOT = Path(__file__).resolve().parents[4]
WIRE = Path("clients/serving/wire")


@pytest.mark.skipif(
    importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed"
)
def test_generating_again_gives_the_same_bytes(tmp_path: Path) -> None:
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *out, str(WIRE / "serving.proto")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    made = sorted((tmp_path / WIRE).iterdir())
    assert [one.name for one in made] == [
        "serving_pb2.py",
        "serving_pb2.pyi",
        "serving_pb2_grpc.py",
    ]
    for one in made:
        assert one.read_bytes() == (ROOT / WIRE / one.name).read_bytes(), "run `make protos`"


def test_every_call_is_answered() -> None:
    service = pb.DESCRIPTOR.services_by_name["Serving"]
    assert service.full_name == SERVICE == "fedinterest.serving.v1.Serving"
    assert [one.name for one in service.methods] == list(CALLS)
    for method in service.methods:
        call = CALLS[method.name]
        assert call.request.DESCRIPTOR is method.input_type
        assert call.streams == method.server_streaming


def test_every_call_and_every_field_with_a_limit_is_described() -> None:
    text = (ROOT / WIRE / "serving.proto").read_text()
    for name in CALLS:
        assert re.search(rf"(//.*\n|returns \(.*\);\n)  rpc {name}\(", text), name
    assert max(len(line) for line in text.splitlines()) <= 100
