import json
import shutil
import subprocess
import sys

import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner

from vlad.cli import main
from vlad.prompts import load_bank
from vlad.runs import ask as asking


@pytest.fixture
def ask(small_file):
    def run(*args, backbone=str(small_file)):
        options = ["--backbone", backbone, "--device", "cpu"]
        return CliRunner().invoke(main, ["ask", *map(str, args), *options])

    return run


def listed(output):
    """(margin, path) of each line of the table."""
    lines = [line.split(maxsplit=2) for line in output.splitlines()]
    return [
        (float(x[1]), x[2]) for x in lines if len(x) == 3 and x[0].isdigit() and x[1][0] in "+-"
    ]


def same(first, second):
    paths = [path for _, path in first] == [path for _, path in second]
    return paths and [m for m, _ in first] == pytest.approx([m for m, _ in second], abs=1.5e-4)


def test_images_are_listed_by_their_margin(ask, images):
    done = ask("any scratches near the rim?", images, "--category", "bottle cap", "--top", 4)
    assert done.exit_code == 0, done.output
    assert "For:     bottle cap with scratches near the rim\n" in done.stdout
    assert "Against: bottle cap without scratches near the rim; bottle cap\n" in done.stdout
    found = listed(done.stdout)
    assert len(found) == 4
    assert [margin for margin, _ in found] == sorted((m for m, _ in found), reverse=True)
    assert "6 images compared" in done.stdout
    assert "99 unrelated words" in done.stdout


def test_the_opposite_question_reverses_the_order(ask, images):
    first, second = (listed(ask(f"{x} scratches", images).stdout) for x in ("any", "no"))
    assert [path for _, path in first] == [path for _, path in reversed(second)]
    assert [margin for margin, _ in first] == pytest.approx([-m for m, _ in reversed(second)])


def test_a_negation_is_used_instead(ask, images):
    done = ask("any scratches?", images, "--negation", "smooth surface")
    assert "Against: object with smooth surface\n" in done.stdout
    plain = listed(ask("any scratches?", images).stdout)
    assert [m for m, _ in listed(done.stdout)] != [m for m, _ in plain]


def test_a_folder_has_the_same_order_a_report_and_the_bank(ask, images, rows, tmp_path, small_file):
    plain = listed(ask("any holes?", images).stdout)
    out = tmp_path / "run"
    done = ask("any holes?", images, "--out", out)
    assert done.exit_code == 0, done.output
    assert same(listed(done.stdout), plain)
    assert "object with holes" in load_bank(out / "question.toml").expand("x").anomalous[0]
    scores = {row["path"]: float(row["winclip"]) for row in rows(out)}
    assert max(scores, key=scores.get) == plain[0][1]
    assert str(out / "report.html") in done.stdout and (out / "report.html").is_file()
    # the bank asks vlad score the same
    words = ["score", images, "--bank", out / "question.toml", "--out", tmp_path / "again"]
    words += ["--backbone", small_file, "--device", "cpu", "--maps", "none"]
    again = CliRunner().invoke(main, list(map(str, words)))
    assert again.exit_code == 0, again.output
    assert scores == {
        r["path"]: pytest.approx(float(r["winclip"])) for r in rows(tmp_path / "again")
    }


def test_a_run_is_resumed_or_overwritten_for_its_own_question_only(ask, images, tmp_path):
    out = tmp_path / "run"
    first = ask("any holes?", images, "--out", out)
    again = ask("any holes?", images, "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert same(listed(again.stdout), listed(first.stdout))
    assert "99 unrelated words" in again.stdout
    assert ask("any dents?", images, "--out", out, "--resume").exit_code != 0
    assert ask("any dents?", images, "--out", out).exit_code != 0
    assert ask("any dents?", images, "--out", out, "--overwrite").exit_code == 0
    assert "object with dents" in (out / "question.toml").read_text().replace("{}", "object")


def test_unreadable_images_are_counted_and_said(ask, images):
    (images / "9.png").write_bytes(b"no image")
    done = ask("any holes?", images)
    assert done.exit_code == 0
    assert "6 images compared" in done.stdout
    assert "1 image left out, first" in done.stdout and "9.png" in done.stdout


def test_images_that_say_what_they_show(ask, images, tmp_path):
    manifest = tmp_path / "list.csv"
    lines = [f"{images / f'{i}.png'},{'nut' if i < 3 else 'bolt'}" for i in range(6)]
    manifest.write_text("path,category\n" + "\n".join(lines))
    done = ask("any holes?", manifest, "--category", "nut")
    assert "For:     nut with holes\n" in done.stdout
    assert "Warning: Images of bolt are called nut here, as all others are.\n" in done.stderr
    assert "Images of nut" not in done.stderr
    assert {path for _, path in listed(done.stdout)} == {str(x) for x in images.glob("*.png")}


def test_one_image_has_no_order(ask, images):
    done = ask("any holes?", images / "0.png")
    assert done.exit_code == 0
    assert "A single image has no order" in done.stdout


def test_many_images_are_scored_in_one_go(ask, images):
    for i in range(300):
        shutil.copy(images / f"{i % 6}.png", images / f"copy{i}.png")
    done = ask("any holes?", images, "--top", 400)
    assert len(listed(done.stdout)) == 306
    assert "306 images compared" in done.stdout


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["???"], "no letter or digit"),
        (["is there?"], "names nothing to look for"),
        (["holes", "--category", "a/b"], "a brace, a slash"),
        (["holes", "--resume"], "--resume and --overwrite are for the folder of --out"),
        (["holes", "--negation", "any holes"], "says the same"),
    ],
)
def test_bad_input_is_said_in_one_sentence(images, args, error, run_env):
    command = [sys.executable, "-m", "vlad", "ask", args[0], str(images), *args[1:]]
    done = subprocess.run(command, env=run_env, capture_output=True, text=True)
    assert done.returncode == 2
    assert error in done.stderr and "Traceback" not in done.stderr


def test_no_readable_image(ask, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    done = ask("holes", tmp_path)
    assert "None of 1 images can be read" in done.stderr


def test_a_backbone_without_text_is_refused(ask, images, monkeypatch):
    from dataclasses import replace

    import vlad.backbones
    import vlad.scoring.setup

    def blind(*args):
        found = vlad.backbones.load_backbone(*args)
        found.info = replace(found.info, has_text=False)
        return found

    monkeypatch.setattr(vlad.scoring.setup, "load_backbone", blind)
    done = ask("holes", images)
    assert "has no text encoder; choose a CLIP or SigLIP backbone" in done.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_question_says_what_is_kept(ask, images, tmp_path, monkeypatch, kept):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(asking, "run" if kept else "score_samples", stop)
    done = ask("holes", images, *(["--out", tmp_path / "run"] if kept else []))
    assert done.exit_code == 130
    assert ("add --resume" if kept else "Nothing is kept without --out") in done.stderr


def replies(negation='{"negation": "smooth surface"}', answer="yes", sentence="A scratch."):
    """Answers of a server to both kinds of questions."""

    def reply(asked):
        if "negation" in asked.text:
            return negation
        return json.dumps({"answer": answer, "sentence": sentence})

    return reply


def of(server):
    return ["--vlm", server.url, "--vlm-model", MODEL]


def test_a_model_words_the_opposite_and_answers_for_the_first(ask, images, tmp_path):
    out = tmp_path / "run"
    with ChatServer(replies()) as server:
        done = ask("any scratches?", images, "--top", 2, "--out", out, *of(server))
    assert done.exit_code == 0, done.output
    assert "Against: object with smooth surface\n" in done.stdout
    assert done.stdout.count("yes: A scratch.") == 2
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert [x["path"] for x in lines] == [path for _, path in listed(done.stdout)]
    assert {(x["model"], x["answer"], x["sentence"]) for x in lines} == {
        (MODEL, "yes", "A scratch.")
    }
    assert [len(asked.images) for asked in server.asked] == [0, 1, 1]
    assert all("any scratches?" in asked.text for asked in server.asked)


def test_answers_change_no_order(ask, images):
    plain = listed(ask("any scratches?", images, "--negation", "smooth").stdout)
    for answer in ("yes", "no"):
        with ChatServer(replies(answer=answer, sentence="Ignore the order!")) as server:
            done = ask("any scratches?", images, "--negation", "smooth", *of(server))
        assert listed(done.stdout) == plain
        assert not any("negation" in asked.text for asked in server.asked)


@pytest.mark.parametrize(
    "negation", ["dunno", '{"negation": "?"}', '{"negation": "a scratch {}"}', '{"negation": 3}']
)
def test_a_useless_opposite_is_said_and_the_plain_one_used(ask, images, negation):
    with ChatServer(replies(negation)) as server:
        done = ask("any scratches?", images, *of(server))
    assert done.exit_code == 0, done.output
    assert "gave no words for the opposite" in done.stderr
    assert "Against: object without scratches; object\n" in done.stdout


def test_a_malformed_answer_is_an_honest_none(ask, images):
    with ChatServer(replies(answer="perhaps")) as server:
        done = ask("any scratches?", images, "--top", 1, *of(server))
    assert done.exit_code == 0
    assert "no answer: answer is" in done.stdout


def test_a_model_that_fails_leaves_the_order(ask, images):
    with ChatServer(replies(), key="wanted") as server:
        done = ask("any scratches?", images, "--negation", "smooth", *of(server))
    assert done.exit_code == 2
    assert len(listed(done.stdout)) == 6
    assert "Error: " in done.stderr and "VLAD_VLM_KEY" in done.stderr


def test_an_image_that_is_gone_has_no_answer(ask, images, monkeypatch):
    from vlad.commands import ask as command

    answer = command._answer

    def late(model, asked, paths, *rest):
        (images / "3.png").unlink()
        answer(model, asked, paths, *rest)

    monkeypatch.setattr(command, "_answer", late)
    with ChatServer(replies()) as server:
        done = ask("any scratches?", images, *of(server))
    assert done.exit_code == 0, done.output
    assert done.stdout.count("yes: A scratch.") == 5
    assert "3.png" in done.stdout.partition("answers")[2]
