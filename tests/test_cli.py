"""The command as a whole: light to start, and only as talkative as it must be."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from vlad.cli import main
from vlad.commands.options.sections import SECTIONS

HEAVY = ("torch", "numpy", "PIL", "open_clip", "transformers", "pyarrow", "sklearn", "scipy")


@pytest.mark.parametrize("args", [["--help"], ["score", "--help"], ["prompts", "list"]])
def test_help_and_prompts_import_nothing_heavy(args, run_env):
    code = (
        "import sys\nfrom vlad.cli import main\n"
        f"try:\n    main({args!r})\nexcept SystemExit as done:\n    assert not done.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=run_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_vlad_loads_no_torch_and_names_its_public_names(run_env):
    code = "import sys, vlad; print('torch' in sys.modules, *sorted(vlad.__all__))"
    done = subprocess.run([sys.executable, "-c", code], env=run_env, capture_output=True, text=True)
    assert done.stdout.split() == [
        "False", "Calibration", "Detector", "FeatureSpec", "Features", "ImageScores",
        "ScoredImage", "Scores", "TextFeatures", "Verdicts", "VladError", "__version__", "load",
        "load_backbone", "load_bank",
    ]  # fmt: skip


def test_every_public_name_is_there():
    import vlad

    for name in vlad.__all__:
        assert getattr(vlad, name) is not None


def test_no_line_of_the_overview_is_cut():
    done = CliRunner().invoke(main, ["--help"], terminal_width=80)
    listed = done.output.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(main.commands)
    assert not [line for line in listed if line.endswith("...")]


def test_every_option_with_a_section_is_an_option_of_some_command():
    names = {
        name
        for command in main.commands.values()
        for param in command.params
        for name in param.opts
    }
    assert {name for section in SECTIONS.values() for name in section} <= names


def test_options_of_score_stand_in_sections():
    page = CliRunner().invoke(main, ["score", "--help"]).output
    places = [page.index(f"\n{title}:\n") for title in ("Input", "Model", "Decision", "Output")]
    assert places == sorted(places)
    (rest,) = page.split("\nOther options:\n")[1:]
    assert [w for w in rest.split() if w.startswith("--")] == [
        "--engine",
        "--workers",
        "--engine",
        "--fail",
        "--help",
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_behind_the_output_is_one_sentence(run_env):
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "vlad", "heads"]
        done = subprocess.run(words, env=run_env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot write the output (")
    assert len(done.stderr.splitlines()) == 1


def test_an_option_of_one_other_command_is_said_to_be_its():
    def said(*words):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        return done.stderr

    assert said("watch", "a.mp4", "--segments").startswith(
        "Error: No such option '--segments' here, but vlad video has it; see `"
    )
    assert said("review", "apply", "labels.csv", "--order", "worst").startswith(
        "Error: No such option '--order' here, but vlad review list has it; see `"
    )
    # many have --head, and none has --segment
    assert " has it" not in said("doctor", "--head", "memory")
    assert "Did you mean" in said("video", "--segment")
