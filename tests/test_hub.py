"""hf:// sources, against a server on loopback that answers what huggingface_hub asks."""

import hashlib
import http.server
import json
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from fashion_jax.errors import UserError
from fashion_jax.models.pretrained.names import trunk_leaves
from fashion_jax.models.pretrained.source import open_weights
from tests.parity import weights
from tests.small_trunks import shrink_trunks
from tests.torch_files import write_torch

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architecture": "vgg16", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}


class Server(http.server.BaseHTTPRequestHandler):
    """Serves OWNER/NAME/resolve/REVISION/FILE, by the files of the repository some/vgg16."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository != "some/vgg16" or revision not in ("main", "v1", COMMIT):
            return self.fail("RepoNotFound" if repository != "some/vgg16" else "RevisionNotFound")
        if name not in self.files:
            return self.fail("EntryNotFound")
        content = self.files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Returns the files that the server has of the repository; huggingface_hub asks it, and keeps a new cache."""
    shrink_trunks(monkeypatch)
    arrays = weights.draw_state_dict({leaf.name: leaf.shape for leaf in trunk_leaves("vgg16")})
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(arrays)}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Server,), {"files": files})) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        point_at(monkeypatch, server.server_port, tmp_path / "cache")
        yield files
        server.shutdown()


def point_at(monkeypatch, port: int, cache: Path) -> None:
    """Points huggingface_hub, which reads its variables when it is imported, at a server and a cache."""
    from huggingface_hub import constants, file_download

    monkeypatch.setenv("no_proxy", "127.0.0.1")  # has precedence over NO_PROXY
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for module in (constants, file_download):
        for name, value in {
            "ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HUB_CACHE": str(cache),
            "HUGGINGFACE_CO_URL_TEMPLATE": f"http://127.0.0.1:{port}" + "/{repo_id}/resolve/{revision}/{filename}",
        }.items():
            monkeypatch.setattr(module, name, value, raising=False)


@pytest.mark.parametrize("source", ["hf://some/vgg16", "hf://some/vgg16@v1"])
def test_a_repository_is_downloaded_once(hub, source):
    found = open_weights(source, "SOURCE", "vgg16")
    expected = weights.draw_state_dict({leaf.name: leaf.shape for leaf in trunk_leaves("vgg16")})
    for leaf, tensor in found.matched.trunk:
        np.testing.assert_array_equal(tensor.read(), expected[leaf.name])
    assert found.normalization.mean == [0.5, 0.5, 0.5]
    hub.clear()  # what is in the cache is not asked for again by its commit
    assert open_weights(f"hf://some/vgg16@{COMMIT}", "SOURCE", "vgg16").architecture == "vgg16"


def test_a_config_that_does_not_fit_is_told_before_the_weights_are_downloaded(hub):
    hub["config.json"] = json.dumps(CONFIG | {"architecture": "resnet50d"}).encode()
    del hub["model.safetensors"]
    with pytest.raises(UserError, match="names the architecture 'resnet50d'"):
        open_weights("hf://some/vgg16", "SOURCE", "vgg16")


def test_the_second_kind_of_weights_is_taken_from_the_cache_without_a_network(hub, tmp_path, monkeypatch):
    arrays = weights.draw_state_dict({leaf.name: leaf.shape for leaf in trunk_leaves("vgg16")})
    del hub["model.safetensors"]
    hub["pytorch_model.bin"] = write_torch(tmp_path / "a.pth", arrays).read_bytes()
    assert open_weights("hf://some/vgg16", "SOURCE").architecture == "vgg16"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_at(monkeypatch, closed.getsockname()[1], tmp_path / "cache")
        assert open_weights("hf://some/vgg16", "SOURCE").architecture == "vgg16"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://some/other", "cannot be downloaded"),
        ("hf://some/vgg16@v2", "cannot be downloaded"),
        ("hf://vgg16", "write hf://OWNER/NAME"),
        ("hf://some/vgg16/model.safetensors", "write hf://OWNER/NAME"),
    ],
)
def test_what_does_not_exist_is_told_with_the_way_by_hand(hub, source, words):
    with pytest.raises(UserError, match=words) as caught:
        open_weights(source, "model.init_from.vgg16", "vgg16")
    assert repr(source) in str(caught.value) and "\n" not in str(caught.value)


def test_without_network_the_error_says_what_to_bring_by_hand(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_at(monkeypatch, closed.getsockname()[1], tmp_path / "cache")
        with pytest.raises(UserError) as caught:
            open_weights("hf://some/vgg16", "model.init_from.vgg16", "vgg16")
    assert "put its config.json and model.safetensors into a folder by hand, and name the folder" in str(caught.value)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UserError, match=r"by pip install -c constraints.txt -e '.\[hub\]' in its .*, or put its config"
    ):
        open_weights("hf://some/vgg16", "model.init_from.vgg16", "vgg16")
