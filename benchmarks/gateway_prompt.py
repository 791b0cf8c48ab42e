"""How many tokens does a decision cost where a model judges it?

    make bench NAME=gateway_prompt [ARGS="--data-centres 8 100"]

The prompt that would be sent, and an answer with a sentence of 25 words for each data centre that is asked about.
Tokens are estimated, offline: by the documented four characters a token, and with every digit and mark as a token of
its own, which is the most it can be. What a real call used is stored with its decision.
"""

from __future__ import annotations

import argparse
import json
import re

from gateways import workload, world

from clock import utc_now
from database.interface import Database
from decisions.model.judgement import Question, question_for
from decisions.scoring.decide import decide
from decisions.work.notifications import WorkQueue

CHARACTERS_PER_TOKEN = 4
PIECES = re.compile(r"[A-Za-z]{1,6}|\d|[^\w\s]|_")
SENTENCE = " ".join(["It costs 4.25 GBP and emits 812 g here, where the load is low and wind is strong, so that"] * 2)
WORDS = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-centres", type=int, nargs="+", default=[8, 100])
    options = parser.parse_args()
    print("| data centres | asked about | prompt, characters | tokens | at most | answer, tokens | at most |")
    print("|---|---|---|---|---|---|---|")
    for data_centres in options.data_centres:
        with world(data_centres=data_centres) as database:
            question = _question(database)
        prompt, answer = question.instructions + question.data, _answer(question)
        print(f"| {data_centres} | {len(question.dc_ids)} | {len(prompt)} | {_tokens(prompt)} | {_tokens(answer)} |")


def _question(database: Database) -> Question:
    database.insert("compute_workloads", [workload("job-1")])
    contexts = WorkQueue(database, "gateway:prompt:1", lease_seconds=60).contexts(["job-1"], utc_now())
    question = question_for(decide(contexts.context("job-1")), "score")
    if question is None:
        raise RuntimeError("no data centre can take the workload")
    return question


def _answer(question: Question) -> str:
    sentence = " ".join(SENTENCE.split()[:WORDS])
    return json.dumps({"options": [{"dc_id": dc_id, "score": 71, "sentence": sentence} for dc_id in question.dc_ids]})


def _tokens(text: str) -> str:
    return f"{len(text) // CHARACTERS_PER_TOKEN} | {len(PIECES.findall(text))}"


if __name__ == "__main__":
    main()
