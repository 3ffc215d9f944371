"""A text is a function of its own request: not of its batch, nor of what a checkpoint says of generation."""

import json
from dataclasses import replace

import pytest
import torch

from legorec.texts import AnswerFormat, GenerationParameters, Message, TextAnswer, TextFailure, TextRequest
from legorec.texts.checked import answer_value
from legorec.texts.local import LocalTextGenerator
from legorec.texts.local_model import folder_identity
from tests.support.causal import TEXTS, byte_level, fast, sentencepiece, speaking

GREEDY = GenerationParameters(max_tokens=12)
DRAWN = GenerationParameters(max_tokens=12, temperature=0.9, top_p=0.9, top_k=40, seed=3)
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def model():
    return speaking()


@pytest.fixture(scope="module")
def source(model):
    return LocalTextGenerator(model, fast(byte_level()))


def asked(*texts, **given):
    return [TextRequest(text, (Message("user", text),), **given) for text in texts]


PROMPTS = asked(*dict.fromkeys(TEXTS), "a", "a" * 40, "yes")


def answers(source, requests, parameters=GREEDY):
    found = {each.request.id: each for each in source.generate(requests, parameters)}
    assert all(isinstance(each, TextAnswer) for each in found.values())
    return found


def texts(found):
    return {
        name: [(text.text, text.num_tokens, text.finished) for text in each.texts]
        for name, each in found.items()
    }


def plain(model, ids, steps, ends):
    """Greedy decoding with no cache and no padding, and the log-probabilities."""
    said, total = [], 0.0
    for _ in range(steps):
        with torch.no_grad():
            scores = model(torch.tensor([ids + said])).logits[0, -1]
        said.append(int(scores.argmax()))
        total += float(scores.log_softmax(-1)[said[-1]])
        if said[-1] in ends:
            break
    return said, total


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "opt", "qwen3"])
def test_greedy_texts_are_those_of_each_prompt_alone(model_type):
    model, tokenizer = speaking(model_type), fast(byte_level())
    found = answers(LocalTextGenerator(model, tokenizer), PROMPTS)
    for request in PROMPTS:
        ids = tokenizer(request.messages[0].content)["input_ids"]
        said, total = plain(model, ids, 12, {tokenizer.eos_token_id})
        (text,) = found[request.id].texts
        assert text.text == tokenizer.decode(said, skip_special_tokens=True)
        assert text.num_tokens == len(said) and text.log_probability == pytest.approx(total, abs=1e-3)
        assert found[request.id].prompt_tokens == len(ids)


@pytest.mark.parametrize(
    "parameters",
    [
        GREEDY,
        DRAWN,
        replace(GREEDY, repetition_penalty=1.5),
        replace(DRAWN, num_texts=3, repetition_penalty=1.2),
    ],
    ids=["greedy", "drawn", "penalty", "several"],
)
def test_neither_the_batch_nor_the_order_changes_a_text(model, source, parameters):
    whole = texts(answers(source, PROMPTS, parameters))
    alone = {request.id: texts(answers(source, [request], parameters))[request.id] for request in PROMPTS}
    small = LocalTextGenerator(model, fast(byte_level()), token_budget=60, window=3)
    assert whole == alone == texts(answers(small, PROMPTS[::-1], parameters))
    assert len({text for each in whole.values() for text, _, _ in each}) > 3


def test_another_seed_draws_others_and_several_texts_differ(source):
    parameters = replace(DRAWN, num_texts=4)
    first, again = (texts(answers(source, PROMPTS, parameters)) for _ in range(2))
    other = texts(answers(source, PROMPTS, replace(parameters, seed=4)))
    assert first == again != other
    assert all(len(set(each)) > 1 for each in first.values())


def test_drawing_without_a_seed_is_refused(source):
    with pytest.raises(ValueError, match="`seed` must be given"):
        list(source.generate(PROMPTS, replace(DRAWN, seed=None)))


def test_a_stop_text_ends_a_text_and_is_no_part_of_it(source):
    whole = answers(source, PROMPTS)
    for request in PROMPTS:
        text = whole[request.id].texts[0].text
        if len(text) < 4:
            continue
        stop = text[2:4]
        (cut,) = answers(source, [request], replace(GREEDY, stop=("never said", stop)))[request.id].texts
        assert cut.text == text[: text.index(stop)] and cut.finished
        assert cut.num_tokens <= whole[request.id].texts[0].num_tokens


def test_a_text_without_an_end_is_cut_and_says_so(source):
    found = answers(source, PROMPTS, replace(GREEDY, max_tokens=2))
    assert any(not each.texts[0].finished and each.texts[0].num_tokens == 2 for each in found.values())


def test_what_a_generation_config_says_is_not_heard(tmp_path):
    model, tokenizer = speaking(), fast(byte_level())
    expected = texts(answers(LocalTextGenerator(model, tokenizer), PROMPTS))
    said = sorted(
        {token for each in PROMPTS for token in plain(model, tokenizer(each.id)["input_ids"], 6, set())[0]}
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    misleading = {
        **{"do_sample": True, "temperature": 5.0, "top_k": 2, "top_p": 0.1, "repetition_penalty": 3.0},
        **{"eos_token_id": said[:20], "max_new_tokens": 1, "min_new_tokens": 9, "num_beams": 4},
        **{"suppress_tokens": said[:5], "no_repeat_ngram_size": 1, "forced_eos_token_id": said[0]},
        "bad_words_ids": [[said[1]]],
    }
    (tmp_path / "generation_config.json").write_text(json.dumps(misleading))
    assert texts(answers(LocalTextGenerator.from_folder(tmp_path), PROMPTS)) == expected


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
@pytest.mark.parametrize("parameters", [GREEDY, replace(DRAWN, num_texts=3)], ids=["greedy", "drawn"])
def test_a_closed_list_is_kept_to(kind, parameters):
    source = LocalTextGenerator(speaking(), fast(kind()))
    form = AnswerFormat(choices=("yes", "no", "not at all", "sports (live)", "caf\u00e9"))
    parameters = replace(parameters, max_tokens=40)
    for answer in answers(source, asked(*dict.fromkeys(TEXTS), format=form), parameters).values():
        for text in answer.texts:
            assert answer_value(text.text, form) == text.text and text.finished


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
def test_a_schema_is_kept_to(kind):
    source = LocalTextGenerator(speaking(), fast(kind()))
    schema = {
        "type": "object",
        "properties": {
            "topics": {"type": "array", "items": {"enum": ["sports", "music"]}, "minItems": 1, "maxItems": 2},
            "sure": {"type": "boolean"},
        },
        "required": ["topics", "sure"],
        "additionalProperties": False,
    }
    form = AnswerFormat(schema=schema)
    parameters = GenerationParameters(max_tokens=150)
    for answer in answers(source, asked("what", "a story", format=form), parameters).values():
        assert answer.texts[0].finished, answer
        assert set(answer_value(answer.texts[0].text, form)) == {"topics", "sure"}


def test_rows_with_and_without_a_format_share_a_batch(source):
    form = AnswerFormat(choices=("yes", "no"))
    free = asked("a story of")[0]
    alone = texts(answers(source, [free]))[free.id]
    found = answers(source, [*asked("is it", format=form), free])
    assert texts(found)[free.id] == alone and found["is it"].texts[0].text in form.choices


def test_a_format_in_words_where_no_automaton_is_wanted():
    model, tokenizer = speaking(), fast(byte_level())
    source = LocalTextGenerator(model, tokenizer, structured=False)
    form = AnswerFormat(choices=("yes", "no"))
    (request,) = asked("is it", format=form)
    assert source.count_tokens(request) > LocalTextGenerator(speaking(), fast(byte_level())).count_tokens(
        request
    )
    assert answers(source, [request])


def test_a_request_that_cannot_be_read_is_a_failure_alone(model):
    source = LocalTextGenerator(model, fast(byte_level()))
    found = {
        each.request.id: each
        for each in source.generate([*asked("a " * 300, "b " * 400, "yes"), *asked("")], GREEDY)
    }
    assert isinstance(found["yes"], TextAnswer)
    assert isinstance(found["a " * 300], TextFailure)
    reason = "the prompt and `max_tokens` 12 are more than the 256 tokens that the model reads"
    assert found["a " * 300].reason == found["b " * 400].reason == reason, "so that they are counted as one"
    assert found[""].reason == "the prompt holds no token"


def test_requests_are_taken_a_window_at_a_time(model):
    source, taken = LocalTextGenerator(model, fast(byte_level()), window=2), []

    def requests():
        for request in PROMPTS:
            taken.append(request.id)
            yield request

    found = source.generate(requests(), GREEDY)
    assert taken == []
    for count in range(1, 5):
        next(found)
        assert len(taken) == 2 * -(-count // 2)


def test_a_model_in_training_is_left_as_it_was():
    model = speaking("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    source = LocalTextGenerator(model, fast(byte_level()))
    expected = texts(answers(source, PROMPTS[:2]))
    model.train()
    assert texts(answers(source, PROMPTS[:2])) == expected and model.training


def test_an_identity_follows_the_weights_and_how_they_are_asked(tmp_path):
    model, tokenizer = speaking(), fast(byte_level())
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    first = LocalTextGenerator.from_folder(tmp_path).identity
    asked_so = {"chat": "auto", "end_tokens": [], "structured": True}
    assert folder_identity(tmp_path, None, dtype="fp32", **asked_so) == first
    assert str(tmp_path) not in json.dumps(first)
    assert LocalTextGenerator.from_folder(tmp_path, dtype="bf16").identity != first
    assert LocalTextGenerator.from_folder(tmp_path, chat="plain").identity != first
    here = LocalTextGenerator(model, tokenizer).identity
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] += 1
    assert LocalTextGenerator(model, tokenizer).identity != here
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert folder_identity(tmp_path, None, dtype="fp32", **asked_so) != first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token_budget": 0}, "`token_budget` must be at least 1"),
        ({"window": 0}, "`window` must be at least 1"),
        ({"chat": "always"}, "`chat` must be one of auto, template, plain"),
        ({"chat": "template"}, "has no chat template"),
        ({"end_tokens": ["<end>"]}, "`end_tokens` must be tokens of the model, got '<end>'"),
    ],
)
def test_a_wrong_argument_is_refused(model, given, message):
    with pytest.raises(ValueError, match=message):
        LocalTextGenerator(model, fast(byte_level()), **given)


def test_end_tokens_of_ones_own(model):
    tokenizer = fast(byte_level())
    usual = answers(LocalTextGenerator(model, tokenizer), PROMPTS[:1])[PROMPTS[0].id].texts[0]
    said, _ = plain(model, tokenizer(PROMPTS[0].id)["input_ids"], 12, {tokenizer.eos_token_id})
    place = next(place for place, token in enumerate(said) if token < 300 and place > 0)
    end = tokenizer.convert_ids_to_tokens(said[place])
    found = answers(LocalTextGenerator(model, tokenizer, end_tokens=[end]), PROMPTS[:1])
    (text,) = found[PROMPTS[0].id].texts
    assert text.finished and text.num_tokens == said.index(said[place]) + 1 <= usual.num_tokens
    assert text.text == tokenizer.decode(said[: said.index(said[place])])


def test_a_model_in_memory_speaks_with_its_adapter():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    tokenizer, chosen = fast(byte_level()), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    bare = LocalTextGenerator(speaking(), tokenizer)
    tuned = get_peft_model(speaking(), chosen).eval()
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=1.0)
    source = LocalTextGenerator(tuned, tokenizer)
    found = answers(source, PROMPTS)
    assert texts(found) != texts(answers(bare, PROMPTS)) and source.identity != bare.identity
    for request in PROMPTS[:3]:
        said, _ = plain(tuned, tokenizer(request.id)["input_ids"], 12, {tokenizer.eos_token_id})
        assert found[request.id].texts[0].text == tokenizer.decode(said, skip_special_tokens=True)


def test_an_adapter_is_part_of_an_identity(tmp_path):
    speaking().save_pretrained(tmp_path / "model")
    fast(byte_level()).save_pretrained(tmp_path / "model")
    (tmp_path / "adapter").mkdir()
    seen = [folder_identity(tmp_path / "model")]
    for weights in (b"one", b"two"):
        (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
        (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(weights)
        seen.append(folder_identity(tmp_path / "model", tmp_path / "adapter"))
    assert len({json.dumps(each) for each in seen}) == 3
