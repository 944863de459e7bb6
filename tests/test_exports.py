"""The public names: each is there, is what it says, and costs nothing before it is used."""

import subprocess
import sys

import pytest

import geartrain
from geartrain import errors


def test_every_name_can_be_loaded() -> None:
    for name in geartrain.__all__:
        assert getattr(geartrain, name) is not None, name
    assert set(geartrain.__all__) <= set(dir(geartrain))


def test_every_exception_that_users_meet_is_public() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        if not issubclass(error, errors.StoreError):  # that is the server's own affair
            assert getattr(geartrain, name) is error


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = geartrain.Clinet  # type: ignore[attr-defined]


def test_importing_costs_nothing() -> None:
    program = "import sys, geartrain; print([m for m in sys.modules if m.startswith('geartrain')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['geartrain']"


def test_the_sync_names_do_without_asyncio() -> None:
    program = "import sys; from geartrain import Client, Worker, AdminClient; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
