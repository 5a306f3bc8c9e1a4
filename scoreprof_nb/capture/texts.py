"""Texts of a given length in the model's own tokens, made so quickly that the load is not disturbed.

A text is a stretch of a long list of words, whose tokens were counted once by the model's own tokenizer. It
starts at a random place, so making one costs a bisection, not a draw per word.
"""

import random
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate

from scoreprof_nb.parameters.load import Lengths

_STRETCH = 4096  # words to cut texts from, at least
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        re.findall(
            r"[a-z]+",
            """
            the document answers question rate how well item fits query quick brown fox jumps over lazy dog
            request is scheduled dispatched to device and scored this passage relevant search answer

            a good review says what was bought when it came whether it worked and why someone would buy again
            light rain fell on the river town while boats waited under old stone bridges for morning market
            fresh bread warm coffee and green apples were sold beside paper books wool coats and garden tools
            our train leaves from platform nine at seven so please bring your ticket seat number and luggage
            every student reads one chapter writes short notes then explains the main idea to another group
            doctors measured blood pressure twice because first results looked higher than they had expected
            new software should start fast save power keep data safe handle errors and tell users clearly
            large ships carry cars grain steel oil toys and medicine across wide seas between distant ports
            children built small houses of sand near water until waves reached their walls late that evening
            music from an open window filled narrow streets where people danced laughed and shared dinner
            winter travel through high mountains needs strong boots dry clothes careful plans and some luck
            farmers plant corn early watch weather daily and harvest before cold wind or heavy storms arrive
            city planners count traffic compare costs listen to neighbours and choose which road gets repaired
            red blue yellow white black orange purple silver golden dark bright soft hard loud quiet empty
            """,
        )
    )
)


class Texts:
    """Generated texts. Equal arguments give equal texts.

    ``tokens_of``: the tokens of each word with a space before it; without it each word counts as one.
    """

    def __init__(self, seed: str, tokens_of: Mapping[str, int]) -> None:
        rng = random.Random(seed)
        self._heads = rng.sample(WORDS, len(WORDS))  # in an order of its own for each phase
        self._tokens_of = tokens_of
        self._words = rng.choices(WORDS, k=_STRETCH)

    def text(self, rng: random.Random, lengths: Lengths) -> tuple[str, int]:
        """A text and the number of its tokens."""
        return self._text([], _draw(rng, lengths), rng)

    def unique(self, number: int, rng: random.Random, lengths: Lengths) -> tuple[str, int]:
        """A text that begins differently for each number, as soon as possible: a prefix cache shall not know
        it. The first words are the digits of the number."""
        head = [self._heads[number % len(self._heads)]]
        while number := number // len(self._heads):
            head.append(self._heads[number % len(self._heads)])
        return self._text(head, _draw(rng, lengths), rng)

    def _text(self, head: Sequence[str], tokens: int, rng: random.Random) -> tuple[str, int]:
        of_head = sum(self._tokens_of.get(word, 1) for word in head)
        ends = self._ends
        start = rng.randrange(len(ends))
        before = ends[start - 1] if start else 0
        wanted = max(tokens - of_head, 0 if head else 1)
        stop, words, whole = start, [*head], 0
        while before + wanted - whole > ends[-1]:  # longer than what is left of the stretch
            words += self._words[stop:]
            whole += ends[-1] - before
            stop, before = 0, 0
        last = self._nearest(before + wanted - whole, stop, at_least=stop + (not words))
        words += self._words[stop:last]
        counted = of_head + whole + (ends[last - 1] - before if last > stop else 0)
        return "".join(f" {word}" for word in words), counted

    def _nearest(self, tokens: int, start: int, at_least: int) -> int:
        """The number of words whose tokens come nearest, so that the mean length is the one asked for."""
        ends = self._ends
        last = min(bisect_left(ends, tokens, lo=start), len(ends) - 1)
        before = ends[last - 1] if last else 0
        return max(last if tokens - before < ends[last] - tokens else last + 1, at_least)

    @cached_property
    def _ends(self) -> list[int]:
        """The number of tokens up to the end of each word."""
        return list(accumulate(self._tokens_of.get(word, 1) for word in self._words))


def _draw(rng: random.Random, lengths: Lengths) -> int:
    """A length in tokens."""
    drawn = rng.gauss(lengths.mean, lengths.spread) if lengths.spread else lengths.mean
    return round(min(max(drawn, 1), lengths.most))
