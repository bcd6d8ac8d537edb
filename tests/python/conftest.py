import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(params=["key", "mode"])
def each_recorder(request, monkeypatch):
    """The test runs by both recorders of meta_init."""
    monkeypatch.setenv("FAKESCORE_RECORDER", request.param)
    return request.param
