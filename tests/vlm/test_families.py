"""Other families of transformers' models, which write and choose without a line for any of them."""

import pytest
import torch
import transformers
from PIL import Image
from vlm_models import TEXT, words_of

from vlad.vlm import Request
from vlad.vlm.local import LocalVLM

CHAT = (
    "{% for m in messages %}{{ m['role'] }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
SIDE = {"height": 28, "width": 28}
SIGLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
ENDS = {"eos_token": "<end>", "pad_token": "<pad>"}


def _ids(words):
    return {
        "vocab_size": len(words),
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def _named(words, **tokens):
    """A tokenizer that also knows tokens by these names, as those of the family do."""
    for name, token in tokens.items():
        setattr(words, name, token)
        setattr(words, f"{name}_id", words.convert_tokens_to_ids(token))
    return words


def llava_onevision():
    words = words_of(["<end>", "<pad>", "<image>", "<video>"], "", **ENDS)
    grid = [[28, 28], [28, 56], [56, 28], [56, 56]]
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size=SIDE, image_grid_pinpoints=grid),
        words,
        transformers.LlavaOnevisionVideoProcessor(size=SIDE),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**SIGLIP),
        text_config=transformers.Qwen2Config(**TEXT, **_ids(words), bos_token_id=None),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


def internvl():
    tokens = ["<end>", "<pad>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = _named(
        words_of(tokens, "", **ENDS),
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size=SIDE, crop_to_patches=True, max_patches=4),
        words,
        transformers.InternVLVideoProcessor(size=SIDE),
        image_seq_length=1,
        chat_template=CHAT.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )
    vision = {**SIGLIP, "image_size": [28, 28], "patch_size": [14, 14]}
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**vision),
        text_config=transformers.Qwen2Config(**TEXT, **_ids(words), bos_token_id=None),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        downsample_ratio=0.5,
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def gemma3():
    tokens = ["<bos>", "<end>", "<pad>", "<start_of_image>", "<end_of_image>", "<soft>"]
    words = _named(
        words_of(tokens, "", bos_token="<bos>", **ENDS),
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<soft>",
    )
    processor = transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessor(size=SIDE),
        words,
        image_seq_length=4,
        chat_template="<bos>" + CHAT.replace("IMAGE", "<start_of_image>"),
    )
    number = words.convert_tokens_to_ids
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**TEXT, **_ids(words), head_dim=16),
        vision_config=transformers.SiglipVisionConfig(**SIGLIP),
        mm_tokens_per_image=4,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<soft>"),
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # from 0
    return model, processor


def smolvlm():
    pytest.importorskip("num2words")  # its processor writes the times of frames in words
    tokens = ["<end>", "<pad>", "<fake_token_around_image>", "<image>", "<global-img>", "<video>"]
    words = _named(
        words_of(tokens, "", **ENDS),
        fake_image_token="<fake_token_around_image>",
        image_token="<image>",
        global_image_token="<global-img>",
        video_token="<video>",
    )
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(**sizes, do_image_splitting=False),
        words,
        transformers.SmolVLMVideoProcessor(**sizes),
        image_seq_len=1,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.SmolVLMConfig(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
        vision_config=SIGLIP,
        text_config={**TEXT, **_ids(words), "model_type": "llama", "bos_token_id": None},
    )
    return transformers.SmolVLMForConditionalGeneration(config), processor


@pytest.fixture(params=[llava_onevision, internvl, gemma3, smolvlm])
def vlm(request):
    torch.manual_seed(0)
    model, processor = request.param()
    words = processor.tokenizer
    words.padding_side = "left"
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = words.eos_token_id, words.pad_token_id
    return LocalVLM("small", "small", 4, model.eval(), processor)


def test_a_batch_answers_as_its_requests_do(vlm, red, blue):
    requests = [
        Request((red,), "What is this?"),
        Request((blue,), "What is wrong with this one?"),
        Request((blue, Image.new("RGB", (64, 64), "green")), "Which one?"),
        Request((), "Hello"),
    ]
    together = vlm.ask(requests, max_tokens=6)
    assert [x.text for x in together] == [vlm.ask([x], max_tokens=6)[0].text for x in requests]
    choices = ["Yes", "No"]
    for found, request in zip(vlm.choose(requests, choices), requests, strict=True):
        (alone,) = vlm.choose([request], choices)
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_the_model_sees_the_image(vlm, red, blue):
    first, second = vlm.choose([Request((red,), "?"), Request((blue,), "?")], ["A", "B"])
    assert first.probabilities != pytest.approx(second.probabilities, abs=1e-6)
