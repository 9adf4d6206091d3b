import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nas.bundled import BUNDLED_MODEL


def test_the_bundled_model_loads_and_has_the_documented_shape():
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL)
    config = model.config
    assert model.num_parameters() == 7_344_384
    assert model.dtype == torch.bfloat16
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (8, 8, 4)
    assert (config.hidden_size, config.intermediate_size, config.max_position_embeddings) == (256, 768, 512)


def test_the_bundled_tokenizer_fits_the_model_and_adds_no_special_token():
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    assert len(tokenizer) == 4096
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    ids = tokenizer.encode(" The old gentleman opened the door.")
    assert 0 not in ids
    assert tokenizer.decode(ids) == " The old gentleman opened the door."


def test_the_bundled_model_expects_english_prose():
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
    prose = "She looked at him for a moment, and then she said that she did not know what he meant."

    def loss(text: str) -> float:
        ids = torch.tensor([[0, *tokenizer.encode(" " + text)]])
        with torch.no_grad():
            return float(model(input_ids=ids, labels=ids).loss)

    assert loss(prose) < 3.5
    assert loss(" ".join(reversed(prose.split()))) > loss(prose) + 2


def test_the_model_card_has_its_metadata():
    card = (BUNDLED_MODEL / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\n")
