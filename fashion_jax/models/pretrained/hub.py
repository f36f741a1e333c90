"""Downloads the files of a repository of the Hugging Face Hub into the cache of huggingface_hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fashion_jax.errors import first_line, how_to_install
from fashion_jax.models.pretrained.tensors import Unsuitable

PREFIX = "hf://"
_SOURCE = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def download(source: str, config: str, files: Sequence[str], check: Callable[[Path], None]) -> Path:
    """Returns the folder, in the cache, with the config of a repository and the first of some files that it has.

    The variables of huggingface_hub, such as HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE, are honoured.

    Args:
        source: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION for a branch, a tag or a commit.
        config: name of the config file.
        files: names of the files of weights, the best one first.
        check: is called with the folder when it has the config, before the weights are downloaded.

    Raises:
        Unsuitable: the repository or the network is missing, or huggingface_hub is not installed; or what check raises.
    """
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise Unsuitable("which is no address of a repository: write hf://OWNER/NAME or hf://OWNER/NAME@REVISION.")
    by_hand = f"put its {config} and {files[0]} into a folder by hand, and name the folder."
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise Unsuitable(f"but huggingface_hub is not installed: {how_to_install('hub')}, or {by_hand}") from error
    repository, revision = found["repository"], found["revision"]
    unreachable = _unreachable(repository, config, revision)

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repository, name, revision=revision, local_files_only=bool(unreachable)))

    try:
        folder = fetch(config).parent
        check(folder)
        for name in files:
            try:
                return fetch(name).parent
            except EntryNotFoundError as error:  # without an answer of the server, the cache may have the next one
                if isinstance(error, LocalEntryNotFoundError) and (not unreachable or name == files[-1]):
                    raise
        return folder
    except Unsuitable:
        raise
    except Exception as error:  # of its many layers: the network, the server, the cache, the disk
        reason = unreachable or f"{type(error).__name__}: {first_line(error)}"
        raise Unsuitable(f"which cannot be downloaded ({reason}): {by_hand}") from error


def _unreachable(repository: str, name: str, revision: str | None) -> str:
    """Says why the server cannot be reached; "" if it answers. It is asked once, where a download would wait and retry.

    Without an answer, files are taken from the cache.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
    except HfHubHTTPError:  # an answer, which the download explains
        return ""
    except Exception as error:  # of its many layers
        return f"{type(error).__name__}: {first_line(error)}"
    return ""
