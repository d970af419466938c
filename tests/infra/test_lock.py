"""The lock on a data folder."""

import os
import subprocess
import sys

import pytest

from infra.failure import Misuse
from infra.lock import FolderLock, holder


def test_the_second_learns_who_is_first(tmp_path):
    lock = FolderLock.take(tmp_path / "data", port=4711)
    with pytest.raises(Misuse, match=rf"is in use by pid {os.getpid()} on .*, port 4711, since 2"):
        FolderLock.take(tmp_path / "data")
    lock.announce("postgresql://x", None)
    found = holder(tmp_path / "data")
    assert (found.pid, found.port, found.database_url, found.valkey_url) == (os.getpid(), 4711, "postgresql://x", None)
    lock.release()
    assert holder(tmp_path / "data") is None
    FolderLock.take(tmp_path / "data").release()


def test_a_killed_holder_holds_nothing(tmp_path):
    script = f"from pathlib import Path; from infra.lock import FolderLock; l=FolderLock.take(Path({str(tmp_path)!r}));"
    subprocess.run([sys.executable, "-c", script + "import os; os.kill(os.getpid(), 9)"], check=False)
    assert (tmp_path / "stoa.lock").read_text() != ""
    assert holder(tmp_path) is None
    FolderLock.take(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Misuse, match=r"cannot make the data folder .*/file \(STOA_DATA_DIR\): File exists"):
        FolderLock.take(tmp_path / "file")
