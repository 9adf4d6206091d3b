"""Questions without answers, to distil on: more of them than anybody has labelled.

    python benchmarks/cloze_questions.py --squad dev-v2.0.json --train train.json --text wiki.train.txt --out more.json

A student that learns what a teacher says needs no labels, so that any text will do. Written are, in SQuAD's format:

- the questions of ``--train``, ``--repeat`` times over;
- those of the same articles that have no answer (``--squad`` holds them);
- ``--per-paragraph`` cloze questions on each of their paragraphs, and one on each of ``--windows`` stretches of
  ``--text``: a part of one of its sentences with a name or a number gone, "what" (or "who", "which", "when") in its
  place, as in arXiv:1906.04980.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

from split_squad import num_questions

WINDOW = 110
"""Words of a stretch of text, which fit 192 tokens together with a question."""
Paragraph = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True, help="what split_squad.py split")
    parser.add_argument("--train", type=Path, required=True, help="its part to train on")
    parser.add_argument("--text", type=Path, required=True, help="a paragraph a line, such as WikiText-2's train.txt")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--per-paragraph", type=int, default=4)
    parser.add_argument("--windows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    train = json.loads(options.train.read_text(encoding="utf-8"))["data"]
    titles = {article["title"] for article in train}
    whole = [one for one in json.loads(options.squad.read_text(encoding="utf-8"))["data"] if one["title"] in titles]
    windows = windows_of(options.text.read_text(encoding="utf-8"))
    parts = {
        "answerable": [asked(one["context"], questions_of(one)) for one in paragraphs(train)] * options.repeat,
        "unanswerable": [asked(one["context"], questions_of(one, answerable=False)) for one in paragraphs(whole)],
        "cloze": [
            asked(one["context"], [cloze(one["context"], rng) for _ in range(options.per_paragraph)])
            for one in paragraphs(whole)
        ],
        "text": [asked(text, [cloze(text, rng)]) for text in rng.sample(windows, min(options.windows, len(windows)))],
    }
    articles = [{"title": name, "paragraphs": [one for one in part if one["qas"]]} for name, part in parts.items()]
    for article in articles:
        print(f"{article['title']}: {num_questions(article)} questions")
    options.out.write_text(json.dumps({"data": articles}), encoding="utf-8")


def paragraphs(articles: list[dict[str, Any]]) -> list[Paragraph]:
    return [paragraph for article in articles for paragraph in article["paragraphs"]]


def questions_of(paragraph: Paragraph, *, answerable: bool = True) -> list[str]:
    return [one["question"] for one in paragraph["qas"] if bool(one["answers"]) == answerable]


def asked(context: str, questions: list[str]) -> Paragraph:
    return {"context": context, "qas": [{"question": one, "answers": []} for one in questions if one]}


def windows_of(text: str) -> list[str]:
    """Stretches of the paragraphs that are long, and whose words are known."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 60 or line.lstrip().startswith("=") or line.count("<unk>") > 0.04 * len(words):
            continue
        words = joined(line).split()
        found += [" ".join(words[begin : begin + WINDOW]) for begin in range(0, len(words) - 50, WINDOW)]
    return found


def joined(line: str) -> str:
    """WikiText sets spaces around marks, and @ around those within words and numbers."""
    line = re.sub(r" @(.)@ ", r"\1", line).replace("<unk>", "it")
    return re.sub(r" ([.,;:!?)]|'s)", r"\1", line).replace("( ", "(")


def cloze(text: str, rng: random.Random) -> str:
    """A question whose answer the text holds; empty where it has no sentence of the right length."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", text) if 6 <= len(one.split()) <= 30]
    if not sentences:
        return ""
    words = rng.choice(sentences).rstrip(".!?").split()
    names = [place for place, word in enumerate(words) if word[0].isdigit() or (place > 0 and word[0].isupper())]
    begin = rng.choice(names or range(len(words)))
    end = begin + 1
    while end < min(len(words), begin + 4) and (words[end][0].isupper() or words[end][0].isdigit()):
        end += 1
    before = words[max(0, begin - rng.randint(3, 10)) : begin]
    return " ".join([*before, asked_by(words[begin], rng), *words[end : end + rng.randint(3, 10)], "?"])


def asked_by(word: str, rng: random.Random) -> str:
    if re.match(r"(1\d|20)\d\d", word):
        return "when"
    return rng.choice(["what", "who", "which"]) if word[0].isupper() else "what"


if __name__ == "__main__":
    main()
