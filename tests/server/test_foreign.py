"""A queue that another package brings: the example of docs/adding-a-store.md, installed and used."""

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-store.md"
GEARMAND = [sys.executable, "-m", "geartrain.cli.gearmand"]
SERVE = [sys.executable, "-m", "geartrain.cli.geartrain", "serve"]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with the page's package, and with one that cannot be imported."""
    code, entry_points = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[:2]
    folder = tmp_path / "packages"
    (folder / "geartrain_folder").mkdir(parents=True)
    (folder / "geartrain_folder" / "__init__.py").write_text(code)
    (name, place) = re.findall(r'^(\w+) = "(.*)"', entry_points, re.MULTILINE)[0]
    for package, line in (("geartrain_folder", f"{name} = {place}"), ("broken", "broken = nowhere.to_be:Found")):
        info = folder / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[geartrain.stores]\n{line}\n")
    return folder


def run(packages: Path, words: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={"PYTHONPATH": str(packages), **env}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [GEARMAND, SERVE], ids=["gearmand", "serve"])
def test_its_options_come_from_all_places(packages: Path, tmp_path: Path, command: list[str]) -> None:
    for words, env in (
        (["-q", "folder", "--folder-path", "/flags"], {}),
        (["-q", "folder"], {"GEARMAND_FOLDER_PATH": "/environment"}),
    ):
        printed = run(packages, [*command, *words, "--print-config"], **env)
        assert printed.returncode == 0, printed.stderr
        place = words[-1] if len(words) > 2 else "/environment"
        assert f'folder-path = "{place}"' in printed.stdout
        file = tmp_path / "printed.toml"
        file.write_text(printed.stdout)
        again = run(packages, [*command, "--config-file", str(file), "--print-config"])
        assert f'folder-path = "{place}"' in again.stdout, again.stderr


def test_it_is_in_the_help_and_its_complaints_are_heard(packages: Path) -> None:
    for command in (GEARMAND, SERVE):
        assert "where the jobs are kept" in run(packages, [*command, "--help"]).stdout
    refused = run(packages, [*GEARMAND, "-q", "folder", "--check-args"])
    assert refused.returncode == 1
    assert "The queue type folder needs a folder: add folder-path." in refused.stderr
    refused = run(packages, [*GEARMAND, "-q", "broken", "--check-args"])
    assert "The queue type broken cannot be loaded from nowhere.to_be:Found" in refused.stderr


def test_the_server_keeps_its_jobs_there(packages: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    words = ["-q", "folder", "--folder-path", str(spool), "-L", "127.0.0.1:0", "-l", "stderr", "--verbose", "NOTICE"]
    with subprocess.Popen(
        [*GEARMAND, *words], env={"PYTHONPATH": str(packages)}, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            port = next(int(found[1]) for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
            with socket.create_connection(("127.0.0.1", port), 30) as link:
                link.sendall(b"\0REQ\0\0\0\x12\0\0\0\x07f\0key\0x")
                assert link.recv(12)[4:8] == b"\0\0\0\x08"  # JOB_CREATED
            assert [path.name for path in spool.glob("*.job")] == ["1.job"]
        finally:
            server.terminate()
