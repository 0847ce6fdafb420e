"""Processes that can't meet are told so, at once."""

import socket

import pytest
from conftest import TOY, config

from da.distributed import check_port
from da.run import run


def test_a_port_in_use_is_said_before_other_processes_wait_at_it(monkeypatch, tmp_path):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        words = [word for word in TOY if word != "trainer=smoke"]
        with pytest.raises(OSError, match=f"MASTER_PORT={port} is in use; set another one"):
            run(config(*words, "method=mmd", "trainer=ddp_cpu", run_dir=tmp_path))
    check_port()  # it is free again
