import json

import pytest
import torch
from vlm_models import VLMS

from vlad.errors import BackboneError, VlmError
from vlad.vlm import Request, load_vlm

SCHEMA = {
    "type": "object",
    "properties": {"anomalous": {"type": "boolean"}},
    "required": ["anomalous"],
}


@pytest.fixture(params=VLMS)
def kind(request):
    return request.param


def load(folder, **options):
    return load_vlm(str(folder), device="cpu", cache=False, **options)


def test_an_answer_of_a_batch_is_that_of_its_request(vlm_folder, kind, red, blue):
    vlm = load(vlm_folder(kind))
    requests = [
        Request((red,), "What is this?"),
        Request((blue,), "What is wrong with this one?"),
        Request((red, blue), "Which is anomalous?"),
        Request((), "Hello"),
    ]
    together = [reply.text for reply in vlm.ask(requests, max_tokens=8)]
    alone = [vlm.ask([request], max_tokens=8)[0].text for request in requests]
    assert together == alone
    assert len(set(together)) > 1


def test_what_the_model_says_is_checked(vlm_folder, kind, red):
    vlm = load(vlm_folder(kind, '{"anomalous": true}'))
    reply = vlm.ask([Request((red,), "?")], SCHEMA)[0]
    assert reply.data == {"anomalous": True}
    assert reply.error == ""
    assert reply.tokens_in > 10 and reply.tokens_out == 1


def test_a_model_that_writes_no_json_is_asked_twice(vlm_folder, red):
    reply = load(vlm_folder("qwen2_vl", "It is fine.")).ask([Request((red,), "?")], SCHEMA)[0]
    assert reply.data is None
    assert reply.error == "no answer: it holds no JSON object"
    assert reply.tokens_out == 2


def test_probabilities_are_those_of_the_logits(vlm_folder, kind, red, blue):
    vlm = load(vlm_folder(kind))
    requests = [Request((red,), "Anomalous?"), Request((blue,), "Is there any defect?")]
    choices = ["Yes", "No", "A"]
    found = vlm.choose(requests, choices)
    for request, choice in zip(requests, found, strict=True):
        inputs = vlm._inputs([request])
        probabilities = [
            sum(_forced(vlm, inputs, text) for text in (word, f" {word}")) for word in choices
        ]
        expected = torch.tensor(probabilities) / sum(probabilities)
        assert choice.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
        assert choice.text == choices[int(expected.argmax())]


def _forced(vlm, inputs, text):
    """The probability of a text, one token after the other, by generation's own scores."""
    ids = vlm.processor.tokenizer.encode(text, add_special_tokens=False)
    read = inputs["input_ids"].shape[1]
    out = vlm.model.generate(
        **inputs,
        max_new_tokens=len(ids),
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        prefix_allowed_tokens_fn=lambda _, row: [ids[len(row) - read]],
        output_logits=True,
    )
    logs = [logits[0].log_softmax(-1)[i] for logits, i in zip(out.logits, ids, strict=True)]
    return float(torch.stack(logs).sum().exp())


def test_a_text_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(VlmError, match="is of type llama, which does not answer questions about"):
        load(tmp_path)


def test_code_of_a_model_is_never_run(tmp_path):
    config = {"model_type": "mine", "auto_map": {"AutoModel": "mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(VlmError, match="brings code of its own, which vlad never runs"):
        load(tmp_path)


def test_a_model_without_a_chat_template_is_refused(vlm_folder, tmp_path):
    for file in vlm_folder("qwen2_vl").iterdir():
        if "chat_template" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(VlmError, match="has no chat template"):
        load(tmp_path)


def test_a_package_that_a_model_needs_is_named(vlm_folder, monkeypatch):
    def needy(*_, **options):
        raise ImportError("\nPackage `num2words` is required to run SmolVLM processor.\nMore.")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", needy)
    with pytest.raises(VlmError, match=r"not here \(Package `num2words` is required to run "):
        load(vlm_folder("qwen2_vl"))


def test_a_model_too_large_for_memory_is_refused_before_it_is_loaded(vlm_folder, monkeypatch):
    monkeypatch.setattr("vlad.vlm.size.free_memory", lambda device: 2**19)
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", None)
    with pytest.raises(VlmError, match=r"needs about 0\.0 GiB of memory, and cpu has 0\.0 GiB"):
        load(vlm_folder("qwen2_vl"))


def test_half_precision_needs_half_the_memory(vlm_folder, monkeypatch):
    folder = vlm_folder("qwen2_vl")
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    monkeypatch.setattr("vlad.vlm.size.free_memory", lambda device: int(size))
    with pytest.raises(VlmError, match="of memory"):
        load(folder)
    assert load(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_weights_that_are_not_loaded_do_not_count(vlm_folder, tmp_path, monkeypatch):
    for file in vlm_folder("qwen2_vl").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "consolidated.safetensors").write_bytes(bytes(2**22))
    monkeypatch.setattr("vlad.vlm.size.free_memory", lambda device: 2**22)
    assert load(tmp_path).name == str(tmp_path)


def test_a_device_that_is_not_here(vlm_folder):
    with pytest.raises(VlmError, match="cannot compute on device 'cuda:99'"):
        load_vlm(str(vlm_folder("qwen2_vl")), device="cuda:99")


def test_a_full_memory_is_one_sentence(vlm_folder, red, monkeypatch):
    vlm = load(vlm_folder("qwen2_vl"))

    def full(*_, **options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(vlm.model, "generate", full)
    with pytest.raises(VlmError, match="ran out of memory over 4 requests at once"):
        vlm.ask([Request((red,), "?")])


def test_a_missing_weight_is_refused(vlm_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in vlm_folder("qwen2_vl").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[min(tensors)]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match="is missing from"):
        load(tmp_path)


def test_a_name_that_is_not_on_this_disk_needs_the_network():
    with pytest.raises(BackboneError, match=r"network is forbidden .* the address of an endpoint"):
        load_vlm("nobody/no-such-vlm", cache=False)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(VlmError, match="dtype is 'int3'; choose from auto, float32"):
        load_vlm("x", dtype="int3")


def test_a_name_is_for_endpoints(tmp_path):
    with pytest.raises(VlmError, match="no address of an endpoint"):
        load_vlm(str(tmp_path), name="other")
