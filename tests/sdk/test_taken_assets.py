"""Registering without uploads: the server takes the assets from the files that the manifest names."""

from pathlib import Path

import covalent as ct
import pytest
import requests
from checks import completed
from covalent._dispatcher_plugins.local import LocalDispatcher


@ct.electron
def cube(x):
    return x**3


@ct.lattice
def workflow(x, label):
    return cube(x), label


@pytest.fixture
def staged(tmp_path):
    workflow.build_graph(5, "x" * 100_000)
    return LocalDispatcher.prepare_manifest(workflow, str(tmp_path))


def assets_of(manifest):
    nodes = manifest.lattice.transport_graph.nodes
    for owner in (manifest, manifest.lattice, *nodes):
        yield from (asset for _, asset in owner.assets)


def test_assets_are_taken_from_the_staging_folder(server, staged):
    answer = LocalDispatcher.register_manifest(staged, push_assets=False)
    assert not any(asset.remote_uri for asset in assets_of(answer) if asset.size)
    dispatch_id = answer.metadata.dispatch_id
    LocalDispatcher.start(dispatch_id)
    value = completed(ct.get_result(dispatch_id, wait=True))
    assert list(value) == [125, "x" * 100_000]


@pytest.mark.mends
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("file:///nowhere/to/be/found", "/nowhere/to/be/found"),
        ("file:///etc", "it is no file"),
        ("file://relative/path", "only file:// addresses with an absolute path"),
        ("https://example.org/function", "only file:// addresses with an absolute path"),
    ],
)
def test_what_cannot_be_taken_refuses_the_registration(server, staged, address, said):
    before = requests.get(f"{server.url}/api/v3/dispatches", timeout=30).json()["total"]
    staged.lattice.transport_graph.nodes[0].assets.function.uri = address
    with pytest.raises(requests.HTTPError) as refused:
        LocalDispatcher.register_manifest(staged, push_assets=False)
    assert refused.value.response.status_code == 422
    detail = refused.value.response.json()["detail"]
    assert said in detail and "node 0" in detail, detail
    assert requests.get(f"{server.url}/api/v3/dispatches", timeout=30).json()["total"] == before


@pytest.mark.mends
def test_a_file_that_is_not_what_was_announced_refuses_the_registration(server, staged):
    asset = staged.lattice.transport_graph.nodes[0].assets.function
    with Path(asset.uri.removeprefix("file://")).open("ab") as file:
        file.write(b"more")
    with pytest.raises(requests.HTTPError) as refused:
        LocalDispatcher.register_manifest(staged, push_assets=False)
    assert "not what was announced" in refused.value.response.json()["detail"]
