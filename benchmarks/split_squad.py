"""Splits a file in SQuAD's format by article, so that no paragraph is in both parts.

    python benchmarks/split_squad.py dev-v2.0.json --out FOLDER

writes ``train.json`` and ``test.json``. Questions without an answer are left out unless ``--unanswerable`` is given:
a small model trained on few questions learns little but to give none.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder, made if absent")
    parser.add_argument("--test-share", type=float, default=0.2, help="of the articles")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unanswerable", action="store_true", help="keep questions without an answer")
    options = parser.parse_args()
    articles = json.loads(options.file.read_text())["data"]
    if not options.unanswerable:
        articles = [answerable(article) for article in articles]
    random.Random(options.seed).shuffle(articles)
    num_test = round(options.test_share * len(articles))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", articles[:num_test]), ("train", articles[num_test:])):
        (options.out / f"{name}.json").write_text(json.dumps({"data": part}))
        print(f"{name}: {len(part)} articles, {sum(map(num_questions, part))} questions")


def answerable(article: dict[str, Any]) -> dict[str, Any]:
    """The article with those questions alone that its paragraphs answer."""
    paragraphs = [
        {**paragraph, "qas": [question for question in paragraph["qas"] if question["answers"]]}
        for paragraph in article["paragraphs"]
    ]
    return {**article, "paragraphs": [paragraph for paragraph in paragraphs if paragraph["qas"]]}


def num_questions(article: dict[str, Any]) -> int:
    return sum(len(paragraph["qas"]) for paragraph in article["paragraphs"])


if __name__ == "__main__":
    main()
