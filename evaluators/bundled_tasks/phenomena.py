"""The phenomena that the minimal pairs test, one function each.

A pair is two sentences that differ in one word or in the order of two, and only one of them is English. Which of two
competing forms is the right one is the caller's to say (``first``), so that over a task each form is right as often
as wrong, and how frequent a word is gives nothing away. The idea is BLiMP's (arXiv:1912.00582); words and templates
are our own.

The phenomena were selected on the bundled model: of sixteen tried, three that it hardly ever got wrong (comparison,
correlatives, pronoun case) and two that it has not learned (agreement across a distractor, filler and gap) were left
out, and templates were revised after seeing its scores. A score thus tells sub-networks of that model apart; it is no
fair test of its English.
"""

from collections.abc import Callable
from random import Random

from evaluators.bundled_tasks.lexicon import (
    ADJECTIVES,
    HANDLED,
    INTRANSITIVE,
    IRREGULAR_NOUNS,
    IRREGULAR_VERBS,
    KNEW,
    MATTERS,
    MEN,
    NAMES,
    PEOPLE,
    PLACES,
    STATES,
    THINGS,
    TIMES,
    TRANSITIVE,
    VERBS_WITH_PREPOSITION,
    WOMEN,
)

Pair = tuple[str, str]
"""The good sentence, the bad one."""


def _sentence(text: str) -> str:
    """The text with single spaces and a capital letter."""
    text = " ".join(text.split())
    return text[0].upper() + text[1:]


def _pair(template: str, good: str, bad: str) -> Pair:
    """The two sentences that the template makes of the two words."""
    return _sentence(template.format(good)), _sentence(template.format(bad))


def determiner_noun_agreement(rng: Random, first: bool) -> Pair:
    """John opened {this|these} old letter."""
    singular, plural = rng.choice((("this", "these"), ("that", "those")))
    noun = rng.choice(THINGS)[0 if first else 1]
    adjective = rng.choice(("", rng.choice(ADJECTIVES)))
    template = f"{rng.choice(NAMES)} {rng.choice(HANDLED)} {{}} {adjective} {noun} {rng.choice(PLACES)}."
    return _pair(template, *((singular, plural) if first else (plural, singular)))


def irregular_noun_agreement(rng: Random, first: bool) -> Pair:
    """She had heard of those poor {children|child}."""
    singular, plural = rng.choice(IRREGULAR_NOUNS)
    determiner = rng.choice(
        ("this", "that", "every", "one", "a") if first else ("these", "those", "many", "two", "all")
    )
    verb = rng.choice(("had heard of", "was thinking of", "told us about", "looked at", "was afraid of", "dreamed of"))
    template = f"{rng.choice(NAMES)} {verb} {determiner} {rng.choice(('poor', 'little', 'strange', 'white'))} {{}}."
    return _pair(template, *((singular, plural) if first else (plural, singular)))


def subject_verb_agreement(rng: Random, first: bool) -> Pair:
    """The ladies who had followed John {were|was} silent."""
    singular, plural, rest = rng.choice(
        (
            ("was", "were", rng.choice(STATES)),
            ("is", "are", rng.choice(STATES)),
            ("has", "have", rng.choice(("gone away", "come back", "been found", "been forgotten"))),
            ("does", "do", rng.choice(("not move", "not speak", "not come"))),
        )
    )
    noun = rng.choice(PEOPLE)[0 if first else 1]
    between = rng.choice(("", "", "", rng.choice(PLACES), f"who had {rng.choice(TRANSITIVE)} {rng.choice(NAMES)}"))
    template = f"{rng.choice(('the', 'my', 'his', 'her'))} {rng.choice(ADJECTIVES)} {noun} {between} {{}} {rest}."
    return _pair(template, *((singular, plural) if first else (plural, singular)))


def anaphor_agreement(rng: Random, first: bool) -> Pair:
    """The queen had hurt {herself|themselves}."""
    people, singular = rng.choice(((MEN, "himself"), (WOMEN, "herself")))
    verb = rng.choice(
        ("had hurt", "amused", "had dressed", "must defend", "threw", "seated", "found", "had hidden", "thought of")
    )
    subject = rng.choice(people)[0 if first else 1]
    template = f"the {rng.choice(ADJECTIVES)} {subject} {verb} {{}} {rng.choice(PLACES)}."
    return _pair(template, *((singular, "themselves") if first else ("themselves", singular)))


def irregular_verb_form(rng: Random, first: bool) -> Pair:
    """He had {taken|took} the letter."""
    past, participle, rest = rng.choice(IRREGULAR_VERBS)
    subject = rng.choice((*NAMES, *(f"the {rng.choice(PEOPLE)[0]}" for _ in range(8))))
    if first:
        return _pair(f"{subject} {rng.choice(('', 'then', 'soon'))} {{}} {rest} {rng.choice(TIMES)}.", past, participle)
    return _pair(
        f"{subject} {rng.choice(('had', 'had just', 'had not'))} {{}} {rest} {rng.choice(TIMES)}.", participle, past
    )


def passive(rng: Random, first: bool) -> Pair:
    """The guests were {invited|smiled} by the duke, and: The guests had {smiled|invited} at the duke."""
    one, many = rng.sample(PEOPLE, 2)
    transitive, (intransitive, preposition) = rng.choice(TRANSITIVE), rng.choice(INTRANSITIVE)
    if first:
        return _pair(f"the {many[1]} were {{}} by the {one[0]} {rng.choice(TIMES)}.", transitive, intransitive)
    return _pair(f"the {many[1]} had {{}} {preposition} the {one[0]} {rng.choice(TIMES)}.", intransitive, transitive)


def negative_polarity(rng: Random, first: bool) -> Pair:
    """John had not found {any|no} letters, and: John had found {no|any} letters."""
    negation = (
        rng.choice(("had not", "had never", "could not have")) if first else rng.choice(("had", "has", "must have"))
    )
    participle = rng.choice(("found", "seen", "brought", "received", "wanted", "lost", "bought", "noticed"))
    template = f"{rng.choice(NAMES)} {negation} {participle} {{}} {rng.choice(THINGS)[1]} {rng.choice(PLACES)}."
    return _pair(template, *(("any", "no") if first else ("no", "any")))


def relative_pronoun(rng: Random, first: bool) -> Pair:
    """The poor lady {who|which} had been lost was gone."""
    noun = rng.choice(PEOPLE if first else THINGS)[0]
    clause = rng.choice(("had been lost", "had been found", "was left behind", "had come that day", "stood alone"))
    template = f"the {rng.choice(ADJECTIVES)} {noun} {{}} {clause} {rng.choice(PLACES)} was {rng.choice(STATES)}."
    return _pair(template, *(("who", "which") if first else ("which", "who")))


def question_order(rng: Random, first: bool) -> Pair:
    """John asked where {she had|had she} gone, and: Where {had she|she had} gone?"""
    word = rng.choice(("where", "why", "when", "how"))
    subject = rng.choice(("he", "she", "they", "we", "I", "it", f"the {rng.choice(PEOPLE)[0]}"))
    auxiliary = rng.choice(("had", "would", "could"))
    verb = {"had": ("gone", "come", "fallen", "died"), "would": ("go", "come"), "could": ("go", "come")}[auxiliary]
    rest = f"{rng.choice(verb)} {rng.choice(TIMES)}"
    straight, inverted = f"{subject} {auxiliary}", f"{auxiliary} {subject}"
    if first:
        return _pair(f"{rng.choice(NAMES)} {rng.choice(KNEW)} {word} {{}} {rest}.", straight, inverted)
    return _pair(f"{word} {{}} {rest}?", inverted, straight)


def countability(rng: Random, first: bool) -> Pair:
    """There was too {much|many} snow, and: There were too {many|much} letters."""
    matter, things = rng.choice(MATTERS), rng.choice(THINGS + PEOPLE)[1]
    subject = (
        f"{rng.choice(NAMES)} {rng.choice(('had found', 'had not seen', 'had never wanted', 'spoke of', 'asked for'))}"
    )
    degree = rng.choice(("so", "too", "as", "very"))
    template = f"{subject} {degree} {{}} {matter if first else things} {rng.choice(PLACES)}."
    return _pair(template, *(("much", "many") if first else ("many", "much")))


def verb_preposition(rng: Random, first: bool) -> Pair:
    """She listened with some surprise {to|of} the music."""
    one, other = rng.choice(VERBS_WITH_PREPOSITION)
    (good, verbs), (bad, _) = (one, other) if first else (other, one)
    verb, rest = rng.choice(verbs)
    manner = rng.choice(("", "at first", "in silence", "with some surprise", "always", "now", "once more"))
    return _pair(f"the {rng.choice(PEOPLE)[0]} {verb} {manner} {{}} {rest} {rng.choice(TIMES)}.", good, bad)


PHENOMENA: dict[str, Callable[[Random, bool], Pair]] = {
    "anaphor_agreement": anaphor_agreement,
    "countability": countability,
    "determiner_noun_agreement": determiner_noun_agreement,
    "irregular_noun_agreement": irregular_noun_agreement,
    "irregular_verb_form": irregular_verb_form,
    "negative_polarity": negative_polarity,
    "passive": passive,
    "question_order": question_order,
    "relative_pronoun": relative_pronoun,
    "subject_verb_agreement": subject_verb_agreement,
    "verb_preposition": verb_preposition,
}
