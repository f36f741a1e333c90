"""The demo's server: its page, its API, its limits, and what it refuses."""

import asyncio
import base64
import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fashion_jax import demo
from fashion_jax.errors import UserError
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.demo.description import describe
from fashion_jax.serving.demo.limits import Limits
from fashion_jax.serving.demo.server import create_app, url
from fashion_jax.serving.loading import load
from fashion_jax.taxonomy import Taxonomy
from tests.zoo import encoded, picture, write_zoo

URL = "http://127.0.0.1:8000"
TAXONOMY = Taxonomy.from_paths(("main", "sub"), [("Apparel", "Dress"), ("Apparel", "Shirt"), ("Shoes", "Boot")])
MODEL = describe(
    "runs", TAXONOMY, (8, 8), "crop", {"main": 0.8, "sub": float("inf")}, has_heat_maps=False, is_calibrated=True
)
PREDICT = "/api/predict"


class Echo:
    """A classifier whose answers tell the sizes of the files, when it is allowed to answer."""

    def __init__(self):
        self.allowed = threading.Event()
        self.allowed.set()

    def predict(self, images):
        assert self.allowed.wait(300)
        return [Answer("", classes={"main": f"{len(image)} bytes"}) for image in images]


def client(limits=None, **options) -> TestClient:
    return TestClient(create_app(Echo(), MODEL, limits=limits, **options), URL)


def files(*contents: bytes) -> list:
    return [("files", (f"{i}.jpg", content)) for i, content in enumerate(contents)]


def test_the_page_and_all_that_it_names_are_served():
    page = client().get("/")
    named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    scripts = [client().get(f"/{name}") for name in named]
    imported = {name for script in scripts for name in re.findall(r'from "\./(\S+\.js)"', script.text)}
    assert len(imported) > 2
    for name in (*named, *imported):
        answer = client().get(f"/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://(?!www\.w3\.org/)", answer.text), name
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


def test_other_origins_may_not_read():
    answer = client().get("/api/model", headers={"Origin": "http://other.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    sent = client().post(PREDICT, files=files(b"x"), headers={"Sec-Fetch-Site": "cross-site"})
    assert sent.status_code == 403 and "Another site" in sent.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost"])
def test_this_computer_is_answered(host):
    assert client().get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["other.example", "localhost.other.example:8000", "[::1", ""])
def test_other_names_are_refused_unless_the_server_is_for_others(host):
    refused = client().get("/api/model", headers={"Host": host})
    assert refused.status_code == 403 and "this computer only" in refused.json()["detail"]
    assert "open http://127.0.0.1:8000, or start the demo with --host 0.0.0.0" in refused.json()["detail"]
    assert client(host="0.0.0.0").get("/api/model", headers={"Host": host}).status_code == 200


def test_the_model_is_described():
    model = client().get("/api/model").json()
    assert model["labels"]["sub"] == ["Apparel/Dress", "Apparel/Shirt", "Shoes/Boot"]
    assert model["parents"] == {"main": [], "sub": [0, 0, 1]} and model["canvas"] == {"height": 8, "width": 8}
    assert model["thresholds"] == {"main": 0.8, "sub": None}
    assert model["limits"]["files"] == Limits().files


def test_the_api_has_a_page_of_its_own_without_scripts():
    described = client().get("/openapi.json").json()
    assert {"/api/predict", "/api/explain", "/api/model"} == set(described["paths"])
    page = client().get("/docs").text
    assert all(path in page for path in described["paths"]) and f"{URL}/api/predict" in page
    assert "<script" not in page and "classes" in page


def test_each_file_gets_an_answer_under_its_name():
    names = ["a.jpg", "Kleid früh.png", 'quote".jpg', "a.jpg"]
    sent = [("anything", (name, b"x" * (i + 1))) for i, name in enumerate(names)]
    answers = client().post(PREDICT, files=sent, data={"text": "is dropped"}).json()
    assert [answer["classes"]["main"] for answer in answers] == ["1 bytes", "2 bytes", "3 bytes", "4 bytes"]
    assert [answer["path"] for answer in answers][:2] == names[:2]
    assert all(answer["error"] == "" for answer in answers)


def test_nothing_is_written_to_a_temporary_file(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/no/such/folder")
    content = np.random.default_rng(0).bytes(3 << 20)
    assert client().post(PREDICT, files=files(content)).json()[0]["classes"]["main"] == f"{3 << 20} bytes"


def test_files_that_are_too_large_or_empty_get_a_reason_beside_the_others():
    answers = client(Limits(file_bytes=2 << 20)).post(PREDICT, files=files(bytes(2 << 20), bytes(2 << 20 | 1), b""))
    assert [answer["error"] for answer in answers.json()] == ["", "the file has more than 2 MiB", "the file is empty"]
    assert answers.json()[0]["classes"] == {"main": f"{2 << 20} bytes"} and answers.json()[1]["path"] == "1.jpg"


def in_parts(content: bytes, size: int = 1 << 16):
    """Yields a body without announcing its size."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_a_request_that_is_too_large_is_refused_whether_or_not_it_says_so():
    limited = client(Limits(request_bytes=1 << 20))
    announced = limited.post(PREDICT, files=files(bytes(3 << 20)))
    kind = announced.request.headers["content-type"]
    streamed = limited.post(PREDICT, content=in_parts(announced.request.read()), headers={"Content-Type": kind})
    for answer in (announced, streamed):
        assert answer.status_code == 413 and "1 MiB" in answer.json()["detail"]
    assert limited.post(PREDICT, files=files(b"x")).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"files": files(*[b"x"] * 4)}, 413, "3 files"),
        ({"data": {"text": "x"}}, 415, "x-www-form-urlencoded"),
        ({"json": {"image": "x"}}, 415, "application/json"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "no whole form"),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nabc',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "ends before",
        ),
        ({"files": [("text", (None, b"x"))]}, 400, "no file"),
        ({"files": [("files", ("", b""))]}, 400, "no file"),
    ],
)
def test_other_requests_are_refused_in_a_sentence(sent, status, said):
    answer = client(Limits(files=3)).post(PREDICT, **sent)
    assert answer.status_code == status and said in answer.json()["detail"]


def test_uploads_under_way_may_only_take_so_much_memory():
    limited = client(Limits(held_bytes=1000))
    for _ in range(3):  # what a request has taken is given back
        refused = limited.post(PREDICT, files=files(bytes(600), bytes(600)))
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert limited.post(PREDICT, files=files(bytes(900))).status_code == 200


def asynchronous(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL)


def test_fifty_requests_at_a_time_are_all_answered():
    async def run():
        async with asynchronous(create_app(Echo(), MODEL)) as sender:
            return await asyncio.gather(*(sender.post(PREDICT, files=files(bytes(i + 1))) for i in range(50)))

    answers = asyncio.run(run())
    assert [answer.json()[0]["classes"]["main"] for answer in answers] == [f"{i + 1} bytes" for i in range(50)]


def test_beyond_the_queue_requests_are_told_to_come_again():
    classifier, finished = Echo(), []
    classifier.allowed.clear()

    def allow(task):
        finished.append(task)
        if len(finished) == 7:
            classifier.allowed.set()

    async def run():
        app = create_app(classifier, MODEL, limits=Limits(running=1, waiting=2))
        async with asynchronous(app) as sender:
            tasks = [asyncio.create_task(sender.post(PREDICT, files=files(b"x"))) for _ in range(10)]
            for task in tasks:
                task.add_done_callback(allow)
            return await asyncio.gather(*tasks)

    answers = asyncio.run(run())
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * 3 + [503] * 7
    refused = answers[statuses.index(503)]
    assert "busy" in refused.json()["detail"] and int(refused.headers["retry-after"]) > 0


def test_a_request_that_does_not_come_to_its_end_is_given_up():
    async def slow():
        yield b"--b\r\n"
        await asyncio.sleep(20)

    async def run():
        async with asynchronous(create_app(Echo(), MODEL, limits=Limits(seconds=0.05))) as sender:
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            return await sender.post(PREDICT, content=slow(), headers=kind)

    answer = asyncio.run(run())
    assert answer.status_code == 408 and "0.05 seconds" in answer.json()["detail"]


def test_an_export_has_no_heat_maps():
    answer = client().post("/api/explain", files=files(b"x"))
    assert answer.status_code == 404 and "export" in answer.json()["detail"]


@pytest.fixture(scope="module")
def classifier(finished_run):
    return load(finished_run, batch_size=8, min_probability=0.8, top_k=5)


@pytest.fixture(scope="module")
def served(classifier) -> TestClient:
    """Returns a client of a demo of a small run."""
    from fashion_jax.serving.demo.heat_maps import HeatMaps

    model = describe("run", classifier.engine.taxonomy, (32, 32), "crop", {}, has_heat_maps=True, is_calibrated=True)
    return TestClient(create_app(classifier, model, explain=HeatMaps(classifier.engine.trained).draw), URL)


def test_odd_files_are_answered_as_in_python_or_get_a_reason(served, classifier, tmp_path):
    expected = write_zoo(tmp_path / "zoo")
    paths = [tmp_path / "zoo" / name for name in expected if (tmp_path / "zoo" / name).is_file() and name.isascii()]
    answers = served.post(PREDICT, files=[("files", (path.name, path.read_bytes())) for path in paths]).json()
    assert [answer["path"] for answer in answers] == [path.name for path in paths]
    for answer, wanted in zip(answers, classifier.predict(paths), strict=True):
        assert answer == wanted.to_dict() | {"path": answer["path"]}
        assert bool(answer["error"]) == isinstance(expected[answer["path"]], str)


def test_what_speaks_for_the_classes_is_drawn(served):
    answer = served.post("/api/explain", files=files(encoded(picture(), "PNG"))).json()
    assert set(answer["heat_maps"]) == set(answer["classes"]) == {"main", "sub"}
    for drawing in answer["heat_maps"].values():
        drawn = Image.open(io.BytesIO(base64.b64decode(drawing.removeprefix("data:image/jpeg;base64,"))))
        assert drawn.width == drawn.height >= 256
    broken = served.post("/api/explain", files=files(b"no image at all")).json()
    assert "no image" in broken["error"] and broken["heat_maps"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--workdir is missing"),
        (["--workdir", "x", "--port", "70000"], "70000"),
        (["--workdir", "x", "--min-probability", "1.5"], "--min-probability is 1.5"),
        (["--workdir", "x", "--min-probability", "0.5", "--precision", "0.9"], "give one of them"),
        (["--workdir", "x", "--static", "page"], "npm pack onnxruntime-web"),
        (["--workdir", "x", "--runtime", "package"], "--static"),
    ],
)
def test_wrong_flags_are_told(arguments, said):
    with pytest.raises(UserError, match=re.escape(said)):
        demo.parse(arguments)


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert demo.main(["--workdir", "nothing", "--port", str(port)]) == 2
    assert f"--port {port}" in capsys.readouterr().err


def test_a_host_that_is_no_name_is_told(capsys):
    assert demo.main(["--workdir", "nothing", "--host", "127.0.0..1"]) == 2
    assert "which is no address (it is no name of a host)" in capsys.readouterr().err


def test_the_address_of_a_server_for_others_has_a_name():
    assert url("0.0.0.0", 8000) == url("::", 8000) == f"http://{socket.gethostname()}:8000"
    assert url("::1", 8000) == "http://[::1]:8000"


def test_a_missing_library_is_told(monkeypatch, capsys):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert demo.main(["--workdir", "nothing"]) == 2
    assert "install the extra demo by pip install -c constraints.txt -e '.[demo]' in" in capsys.readouterr().err
    assert demo.main(["--workdir", "nothing", "--static", "page", "--runtime", "package"]) == 2
    assert "install the extra onnx by pip install -c constraints.txt -e '.[onnx]' in" in capsys.readouterr().err


# The command for runs of conftest.py, whose network is smaller than its name says.
WITH_SMALL_RESNET = """
import pytest
from fashion_jax import demo
from tests.small_trunks import shrink_resnet10
shrink_resnet10(pytest.MonkeyPatch())
demo.main()
"""


@pytest.mark.long
def test_the_command_says_its_address_and_ends_quietly(finished_run, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # has precedence over NO_PROXY
    command = [sys.executable, "-c", WITH_SMALL_RESNET, "--workdir", str(finished_run), "--port", "0"]
    root = Path(__file__).parent.parent
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=root, **pipes) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # else a failure below would wait for its end for ever
        address = re.search(r"http://127.0.0.1:\d+", process.stdout.readline())[0]
        answer = httpx.post(f"{address}{PREDICT}", files=files(encoded(picture(), "PNG")), timeout=60)
        assert answer.json()[0]["error"] == ""
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "" and "Traceback" not in err
