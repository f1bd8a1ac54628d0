"""The command line answers fast and says with its exit code how it went."""

import resource
import subprocess
import sys

import pytest

from genbench.cli import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK, main
from genbench.progress import Progress


def test_help_is_fast_and_shows_an_example():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run([sys.executable, "-m", "genbench", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1  # however busy the machine is
    assert "python -m genbench build --set short --suite quick --out" in answer.stdout


def test_parsing_imports_nothing_heavy():
    program = (
        "import sys; from genbench.cli import build_parser; build_parser()\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_list_prints_the_sets(capsys):
    assert main(["list"]) == EXIT_OK
    text = capsys.readouterr().out
    assert "short" in text
    assert "long" in text


def test_bad_input_exits_with_2(capsys, tmp_path):
    assert main(["check", str(tmp_path)]) == EXIT_BAD_INPUT
    assert "build a set first" in capsys.readouterr().err
    assert main(["shards", "--clips", "0", "--out", str(tmp_path)]) == EXIT_BAD_INPUT
    with pytest.raises(SystemExit) as stop:
        main(["build", "--set", "medium", "--out", str(tmp_path)])
    assert stop.value.code == EXIT_BAD_INPUT


def test_interrupt_exits_with_130(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("genbench.shards.export_shards", interrupted)
    assert main(["shards", "--clips", "1", "--out", str(tmp_path)]) == EXIT_INTERRUPTED
    assert "continues" in capsys.readouterr().err


def test_shards_command_writes_and_resumes(capsys, tmp_path):
    pytest.importorskip("espeakng_loader")
    command = ["shards", "--clips", "1", "--frames", "2", "--out", str(tmp_path)]
    assert main(command) == EXIT_OK
    assert "1 shards (1 new)" in capsys.readouterr().out
    assert main(command) == EXIT_OK
    assert "1 shards (0 new)" in capsys.readouterr().out


def test_progress_line_has_rate_and_time_left():
    progress = Progress(4, "samples")
    assert progress.line() == "0/4 samples"
    progress.step(made_now=False)
    assert progress.line() == "1/4 samples"
    progress.step()
    assert "/s" in progress.line()
    assert "s left" in progress.line()
