import csv
import json
from pathlib import Path
from typing import Any

import pytest

from evaluators.base import EvaluationError
from evaluators.encoder_tasks.reading import (
    comma_separated,
    conll_rows,
    drawn,
    json_lines,
    read_table,
    squad_rows,
    tab_separated,
    trec_rows,
)

SQUAD: dict[str, Any] = {
    "version": "v2.0",
    "data": [
        {
            "title": "w",
            "paragraphs": [
                {
                    "context": "Rollo was from Norway.",
                    "qas": [
                        {"id": "a", "question": "Who?", "answers": [{"text": "Rollo", "answer_start": 0}]},
                        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_quotes_mean_something_in_csv_alone(tmp_path: Path) -> None:
    assert comma_separated(written(tmp_path, "a.csv", 'text,label\n"w1\nw2",1\n')) == [{"text": "w1\nw2", "label": "1"}]
    assert tab_separated(written(tmp_path, "a.tsv", 'text\tlabel\n"w1\t1\n')) == [{"text": '"w1', "label": "1"}]


def test_a_field_may_be_a_long_text(tmp_path: Path) -> None:
    text = "w1 " * 60_000
    assert comma_separated(written(tmp_path, "a.csv", f"text,label\n{text},1\n")) == [{"text": text, "label": "1"}]
    assert tab_separated(written(tmp_path, "a.tsv", f"text\tlabel\n{text}\t1\n")) == [{"text": text, "label": "1"}]
    assert csv.field_size_limit() == 131_072


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    mark = "\ufeff"
    assert trec_rows(written(tmp_path, "a.txt", f"{mark}LOC:where ?\n")) == [{"label": "LOC", "text": "where ?"}]
    assert comma_separated(written(tmp_path, "a.csv", f"{mark}text,label\nw1,1\n")) == [{"text": "w1", "label": "1"}]
    assert json_lines(written(tmp_path, "a.jsonl", f'{mark}{{"text": "w1"}}\n')) == [{"text": "w1"}]
    assert conll_rows(written(tmp_path, "a.conll", f"{mark}EU B-ORG\n"))[0]["tokens"] == ["EU"]


@pytest.mark.parametrize(("line", "message"), [("{", r"is not \(Expecting"), ("[1, 2]", r"is '\[1, 2\]'; mend")])
def test_lines_that_are_no_json_objects(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, "data.jsonl", '{"text": "w1"}\n' + line)
    with pytest.raises(EvaluationError, match=f"must be a JSON object, but line 2 of .*data.jsonl {message}"):
        json_lines(path)


@pytest.mark.parametrize("line", ["what is it", ":what", "LOC:"])
def test_lines_that_are_not_trec(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, "data.txt", f"LOC:where ?\n{line}\n")
    with pytest.raises(EvaluationError, match=f"must be LABEL:question, but line 2 of .*data.txt is '{line}'; mend it"):
        trec_rows(path)


def test_a_missing_trec_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"Cannot read the text .*none.txt"):
        trec_rows(tmp_path / "none.txt")


def test_squad(tmp_path: Path) -> None:
    one, two = squad_rows(written(tmp_path, "a.json", json.dumps(SQUAD)))
    assert one == {
        "id": "a",
        "question": "Who?",
        "context": "Rollo was from Norway.",
        "answers": {"text": ["Rollo"], "answer_start": [0]},
    }
    assert two["answers"] == {"text": [], "answer_start": []}


@pytest.mark.parametrize("text", ["[]", "{", '{"data": [{"title": "no paragraphs"}]}', '{"data": 3}'])
def test_json_that_is_not_squad(tmp_path: Path, text: str) -> None:
    with pytest.raises(EvaluationError, match=r"must be in SQuAD's format, but .*a.json is not \(\w+: .*use .jsonl"):
        squad_rows(written(tmp_path, "a.json", text))


def test_conll(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\n\nPeter\tB-PER\nBlack bird\tI-PER\n"
    assert conll_rows(written(tmp_path, "a.conll", text)) == [
        {"tokens": ["EU", "rejects"], "ner_tags": ["I-ORG", "O"]},
        {"tokens": ["Peter", "Black bird"], "ner_tags": ["B-PER", "I-PER"]},
    ]


def test_conll_without_tags(tmp_path: Path) -> None:
    assert conll_rows(written(tmp_path, "a.conll", "EU\nrejects\n")) == [{"tokens": ["EU", "rejects"]}]
    with pytest.raises(EvaluationError, match=r"must have a tag in its last column, but 'rejects' in .* has none; add"):
        conll_rows(written(tmp_path, "b.conll", "EU B-ORG\nrejects\n"))


def test_which_ending_means_which_format_is_the_tasks_affair(tmp_path: Path) -> None:
    options: dict[str, Any] = {"subset": None, "split": "train", "columns": ["tokens"]}
    path = written(tmp_path, "a.annotated", "EU\tB-ORG\n")
    table = read_table(path, **options, readers={".jsonl": json_lines, "*": conll_rows})
    assert table.rows == [{"tokens": ["EU"], "ner_tags": ["B-ORG"]}]
    with pytest.raises(EvaluationError, match=r"Cannot read the text .*none.jsonl"):
        read_table(tmp_path / "none.jsonl", **options, readers={".jsonl": json_lines})


def test_draws_differ_by_seed_and_keep_every_row() -> None:
    rows = [{"n": number} for number in range(20)]
    one, two = drawn(rows, limit=None, seed=0), drawn(rows, limit=None, seed=1)
    assert one != two
    assert sorted(row["n"] for row in one) == list(range(20))
    assert drawn(rows, limit=5, seed=0) == one[:5]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"data": []}'),
        ("a.conll", "-DOCSTART- O\n\n"),
        ("a.tsv", "text\tlabel\n"),
        ("a.csv", "text,label\n"),
    ],
)
def test_files_without_an_example_are_refused(tmp_path: Path, name: str, text: str) -> None:
    path = written(tmp_path, name, text)
    readers = {".json": squad_rows, ".conll": conll_rows, ".tsv": tab_separated, ".csv": comma_separated}
    with pytest.raises(EvaluationError, match=f"must hold at least one example, but .*{name} holds none; give another"):
        read_table(path, subset=None, split="train", columns=[], readers=readers)
    path.write_text("\n")
    with pytest.raises(EvaluationError, match=f"The text must not be empty, but .*{name} is; give another file"):
        read_table(path, subset=None, split="train", columns=[], readers=readers)
